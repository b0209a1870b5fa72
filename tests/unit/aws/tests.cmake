# postern_unit_test(aws MODULE ...), one a line.
postern_unit_test(aws canonical FAULTS)
postern_unit_test(aws sign FAULTS)
postern_unit_test(aws sign_vectors USES PkgConfig::JANSSON
                  DEFINITIONS SHARED_DATA="${PROJECT_SOURCE_DIR}/../shared/data")
postern_unit_test(aws credentials_file FAULTS)
postern_unit_test(aws credentials_json FAULTS)
postern_unit_test(aws credentials_endpoint)
postern_unit_test(aws error_code)
