"""What a search does and finds: its configuration, its trials, its loop, its journal and its run directories."""
