"""All input and output: git, files, processes, HTTP, the journal, nginx and uWSGI."""
