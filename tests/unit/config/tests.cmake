# postern_unit_test(config MODULE ...), one a line.
postern_unit_test(config allowlist FAULTS)
postern_unit_test(config golden)
postern_unit_test(config describe DEFINITIONS PROJECT_DIR="${PROJECT_SOURCE_DIR}")
postern_unit_test(config policy)
postern_unit_test(config tree)
postern_unit_test(config config)
postern_unit_test(config faults FAULTS)
postern_unit_test(config http)
