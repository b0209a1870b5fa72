# What `cmake --install` puts where. Unit files, man pages and configuration come with the programs.
