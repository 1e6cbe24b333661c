"""Follows the items topic: stores content features at once, then asks for knowledge and stores its vectors."""
