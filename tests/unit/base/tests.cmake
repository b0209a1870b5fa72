# postern_unit_test(base MODULE ...), one a line.
postern_unit_test(base fault FAULTS)
postern_unit_test(base text FAULTS)
