/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * What the programs and phi-host say to each other. phi-host/src/ebpf/layout.rs reads the same, and
 * a test compares the two. Every field has a fixed width and its natural alignment; there is no
 * padding.
 */
#ifndef PHI_H
#define PHI_H

#ifndef __BPF__
#include <stdint.h>
typedef uint16_t __u16;
typedef uint32_t __u32;
typedef uint64_t __u64;
#endif

/* Buckets of a histogram: number n counts times from 2^n nanoseconds on, to below 2^(n+1). The first
 * counts 0 as well, and the last everything above. */
#define PHI_BUCKETS 40

/* Domains, at most; as phi_abi::layout::SERVICES. */
#define PHI_DOMAINS 1024

/* The server of a handle that nobody announced. */
#define PHI_NOBODY 0xffff

/* What happened: the site that saw it. docs/ebpf.md says what each one's words are. */
enum phi_kind {
	PHI_THREAD_BEGIN = 1,
	PHI_SEND = 2,
	PHI_CALL = 3,
	PHI_ANSWER = 4,
	PHI_RECEIVE = 5,
	PHI_REPLY = 6,
	PHI_LOAN_BEGIN = 7,
	PHI_LOAN_END = 8,
	PHI_CAPABILITY_START = 9,
	PHI_CAPABILITY_MAKE = 10,
	PHI_CAPABILITY_DERIVE = 11,
	PHI_CAPABILITY_TRANSFER = 12,
	PHI_CAPABILITY_REVOKE = 13,
	PHI_SERVICE_START = 14,
	PHI_SERVICE_EXIT = 15,
	PHI_SERVICE_FAULT = 16,
	PHI_SERVICE_STOP = 17,
	PHI_RELEASE = 18,
	PHI_THROTTLE = 19,
};

/* One event, as it stands in the ring. */
struct phi_event {
	__u64 time;   /* CLOCK_MONOTONIC, in nanoseconds */
	__u64 handle;
	__u64 label;
	__u64 length;
	__u64 value;
	__u16 kind;   /* enum phi_kind */
	__u16 domain;
	__u16 server; /* of a call, a send or an answer; otherwise PHI_NOBODY */
	__u16 thread; /* its slot in the domain */
};

/* Which messages: from whom to whom, through which mailbox, with which label. */
struct phi_edge_key {
	__u64 label;
	__u32 mailbox;
	__u16 client;
	__u16 server;
};

/* What those messages were. */
struct phi_edge {
	__u64 calls;        /* begun */
	__u64 answers;      /* calls that ended with an answer */
	__u64 failures;     /* calls and sends that ended with an error */
	__u64 sends;        /* accepted */
	__u64 bytes;        /* of the calls and sends */
	__u64 answer_bytes; /* of the answers */
	__u64 nanoseconds;  /* from call to answer, added up */
	__u64 histogram[PHI_BUCKETS]; /* the same, of each answer */
};

/* What became of one service. */
struct phi_service {
	__u64 starts;
	__u64 exits;
	__u64 faults;
	__u64 stops;
	__u64 processor; /* nanoseconds that its threads ran */
};

/* What could not be counted. */
struct phi_lost {
	__u64 events;   /* no room in the ring */
	__u64 messages; /* no room for another edge, or for another call under way */
};

#endif
