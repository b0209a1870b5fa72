/* A whole session between two cores, with nothing left to chance: the conversation of docs/protocol.md. */
#include "peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Lets both say what they have to, in turns, until neither has anything. */
static void talk(struct transcript *transcript, struct peer peers[2])
{
    bool spoke;

    do {
        spoke = false;
        for (unsigned i = 0; i < 2; i++) {
            uint8_t *at = transcript->bytes[i] + transcript->length[i];
            size_t room = sizeof(transcript->bytes[i]) - transcript->length[i];
            static uint8_t buffer[SESSION_SEND_MIN];
            if (!session_has_output(peers[i].session)) {
                continue;
            }
            size_t length = session_send(peers[i].session, 0, buffer, sizeof(buffer));
            assert_true(length <= room);
            memcpy(at, buffer, length);
            transcript->length[i] += length;
            session_receive(peers[1 - i].session, 0, at, length);
            spoke = true;
        }
    } while (spoke);
}

static void begin(struct peer *peer, enum session_role role)
{
    peer_config(peer, role);
    session_config_default(&peer->config, role);
    peer->config.build = role == SESSION_CLIENT ? "postern 0.1.0" : "posternd 0.1.0";
    peer->now = 0;
    peer->consume = true;
    peer_new(peer);
}

static void send(struct peer *peer, uint32_t id, uint64_t bytes)
{
    struct peer_channel *place = peer_place(peer, id);

    place->to_send = bytes;
    place->fin = true;
    channel_ready(place->channel);
}

void transcript_make(struct transcript *transcript)
{
    static struct peer peers[2];

    memset(transcript, 0, sizeof(*transcript));
    begin(&peers[0], SESSION_CLIENT);
    begin(&peers[1], SESSION_SERVER);
    talk(transcript, peers);
    peer_open(&peers[0], "kms");
    send(&peers[0], 1, 5);
    talk(transcript, peers);
    channel_accept(peer_channel(&peers[1], 1));
    send(&peers[1], 1, 3);
    talk(transcript, peers);
    peer_open(&peers[0], "nowhere");
    talk(transcript, peers);
    channel_refuse(peer_channel(&peers[1], 3), code_of_reason(REASON_DENIED_ROUTE), "no such route", false);
    talk(transcript, peers);
    for (uint32_t id = 1; id <= 3; id += 2) {
        peer_release(&peers[0], id);
        peer_release(&peers[1], id);
    }
    session_drain(peers[1].session, 0);
    talk(transcript, peers);
    for (unsigned i = 0; i < 2; i++) {
        session_tick(peers[i].session, 0);
        talk(transcript, peers);
    }
    session_tick(peers[0].session, 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(session_is_over(peers[i].session));
        assert_string_equal(strstr(peers[i].events, "ended"), "ended(no_error)");
        peer_stop(&peers[i]);
    }
}

void transcript_print(const struct transcript *transcript)
{
    for (unsigned who = 0; who < 2; who++) {
        const uint8_t *at = transcript->bytes[who], *end = at + transcript->length[who];
        printf("```vector %s", who == 0 ? "session-client\nf0 50 53 54 4e 0d 0a 00"
                                        : "session-server\nf0 50 53 54 4e 0d 0a 00");
        for (at += FRAME_PREFACE_SIZE; at < end;) {
            size_t length = FRAME_HEADER + frame_decode_header(at).length;
            for (size_t i = 0; i < length; i++) {
                printf("%s%02x", i == 0 || (i >= FRAME_HEADER && (i - FRAME_HEADER) % 24 == 0) ? "\n" : " ",
                       at[i]);
            }
            at += length;
        }
        printf("\n```\n");
    }
}
