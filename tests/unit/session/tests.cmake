# postern_unit_test(session MODULE ...), one a line.

# Both sides against each other, by seeds (scorecard R7). Sanitizers and coverage make it slow: fewer seeds then.
add_executable(session_sim session/sim.c session/sim_app.c session/sim_wire.c)
target_link_libraries(session_sim PRIVATE postern_session postern_options)
set_target_properties(session_sim PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
if(POSTERN_SANITIZE OR POSTERN_COVERAGE)
  add_test(NAME unit/session/sim COMMAND session_sim --seeds 2000)
else()
  add_test(NAME unit/session/sim COMMAND session_sim --seeds 20000)
endif()
set_tests_properties(unit/session/sim PROPERTIES TIMEOUT 300)

# A session spoken to by hand, and what docs/protocol.md says.
add_library(session_peer STATIC session/document.c session/peer.c session/transcript.c)
target_link_libraries(session_peer PUBLIC postern_session PRIVATE postern_options cmocka)
target_include_directories(session_peer PUBLIC session)
target_compile_definitions(session_peer PRIVATE PROTOCOL_DOCUMENT="${PROJECT_SOURCE_DIR}/docs/protocol.md")

postern_unit_test(session vectors USES session_peer)
postern_unit_test(session rules USES session_peer)
target_sources(test_session_rules PRIVATE session/rules_frames.c session/rules_streams.c)
postern_unit_test(session session FAULTS USES session_peer)
postern_unit_test(session channel USES session_peer)
postern_unit_test(session turns USES session_peer)
postern_unit_test(session finish USES session_peer)
postern_unit_test(session pieces USES session_peer)
postern_unit_test(session skip USES session_peer)
postern_unit_test(session window USES session_peer)
postern_unit_test(session hostile USES session_peer)
