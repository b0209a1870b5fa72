# postern_unit_test(http MODULE ...), one a line.
postern_unit_test(http message LINK_OPTIONS -Wl,--wrap=realloc)
postern_unit_test(http server)
postern_unit_test(http faults FAULTS)
