# postern_unit_test(ctl MODULE ...), one a line.
