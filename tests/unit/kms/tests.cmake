# postern_unit_test(kms MODULE ...), one a line.
postern_unit_test(kms secret FAULTS LINK_OPTIONS -Wl,--wrap=mmap,--wrap=munmap,--wrap=madvise)
