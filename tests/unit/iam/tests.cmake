# postern_unit_test(iam MODULE ...), one a line.
postern_unit_test(iam policy FAULTS)
postern_unit_test(iam evaluate)
