# postern_unit_test(init MODULE ...), one a line.
postern_unit_test(init settings FAULTS DEFINITIONS CLIENT_DOCUMENT="${PROJECT_SOURCE_DIR}/docs/client.md")
postern_unit_test(init lines FAULTS)
postern_unit_test(init child FAULTS LINK_OPTIONS -Wl,--wrap=kill)
postern_unit_test(init clock LINK_OPTIONS
  -Wl,--wrap=clock_settime,--wrap=adjtime,--wrap=clock_gettime,--wrap=nsm_time)
postern_unit_test(init boot FAULTS LINK_OPTIONS
  -Wl,--wrap=mount,--wrap=ioctl,--wrap=syscall,--wrap=reboot,--wrap=sync,--wrap=socket,--wrap=connect
  -Wl,--wrap=setsockopt,--wrap=getpid,--wrap=nsm_random)
