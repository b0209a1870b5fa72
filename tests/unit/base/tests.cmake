# postern_unit_test(base MODULE ...), one a line.
postern_unit_test(base diag FAULTS)
postern_unit_test(base error)
postern_unit_test(base fault FAULTS)
postern_unit_test(base reason)
postern_unit_test(base text FAULTS)
postern_unit_test(base units)
