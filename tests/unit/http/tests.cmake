# postern_unit_test(http MODULE ...), one a line.
postern_unit_test(http message LINK_OPTIONS -Wl,--wrap=realloc)
postern_unit_test(http server)
postern_unit_test(http faults FAULTS)
postern_unit_test(http fields)
postern_unit_test(http opinion)
postern_unit_test(http syntax)
postern_unit_test(http refusal FAULTS)
