/* A fresh daemon of fake_control.h for each test. */
#ifndef FAKE_FIXTURE_H
#define FAKE_FIXTURE_H

#include "fake_control.h"

static struct server server;

static int setup(void **state)
{
    (void)state;
    return fake_init(&server) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    fake_release(&server);
    return 0;
}

#endif
