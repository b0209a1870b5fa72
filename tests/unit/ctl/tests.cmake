# postern_unit_test(ctl MODULE ...), one a line.
postern_unit_test(ctl commands USES postern_daemon DEFINITIONS PROJECT_DIR="${PROJECT_SOURCE_DIR}")
postern_unit_test(ctl explain)
postern_unit_test(ctl doctor USES postern_daemon)
postern_unit_test(ctl doctor_host USES postern_daemon)
postern_unit_test(ctl doctor_routes USES postern_daemon postern_dns_fake)
postern_unit_test(ctl convert FAULTS)
postern_unit_test(ctl faults FAULTS USES postern_daemon)
postern_unit_test(ctl holder)
