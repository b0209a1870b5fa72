# postern_unit_test(daemon MODULE ...), one a line.
postern_unit_test(daemon counters LINK_OPTIONS -Wl,--wrap=calloc)
postern_unit_test(daemon metrics)
postern_unit_test(daemon status)
postern_unit_test(daemon admin)
postern_unit_test(daemon pages_faults FAULTS)
postern_unit_test(daemon operations DEFINITIONS PROJECT_DIR="${PROJECT_SOURCE_DIR}")
postern_unit_test(daemon vsock_args)
postern_unit_test(daemon vsock_proxy_names LINK_OPTIONS -Wl,--wrap=getaddrinfo -Wl,--wrap=freeaddrinfo)
postern_unit_test(daemon vsock_proxy FAULTS
  LINK_OPTIONS -Wl,--wrap=server_run -Wl,--wrap=getaddrinfo -Wl,--wrap=freeaddrinfo)
