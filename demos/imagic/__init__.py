"""Imagic."""
