"""The commands, one file each, and the requests that several of them share."""
