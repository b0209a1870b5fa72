# postern_unit_test(config MODULE ...), one a line.
postern_unit_test(config allowlist)
postern_unit_test(config golden)
