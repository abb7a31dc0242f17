/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Who talks to whom in a system that phi-host runs: counts and times per edge, what became of each
 * service, and every event as it happens.
 *
 * One program stands at all sites of phi-host (phi-host/src/linux/probe.rs), attached to each
 * process by one link, since detaching takes Linux long. The sites' six words are in the registers
 * of C's arguments. A site's cookie says which one it is, and for a service's process which domain:
 * what a service says of itself is not believed.
 */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <stdbool.h>
#include <bpf_helpers.h>
#include "phi.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Set before loading: whether every event goes to the ring. */
const volatile __u32 stream SEC(".rodata.options") = 0;

/* Kinds of capabilities through which messages go: phi_abi::Kind. */
#define KIND_MAILBOX 2
#define KIND_OBJECT 7

struct door {
	__u32 domain;
	__u32 unused;
	__u64 handle;
};

struct behind {
	__u32 mailbox;
	__u16 server;
	__u16 unused;
};

/* Where a handle leads. A slot's handles differ for ever, so nothing has to be taken out. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct door);
	__type(value, struct behind);
} doors SEC(".maps");

struct under_way {
	__u64 begun;
	struct phi_edge_key edge;
};

/* Calls that wait for their answers, by Linux thread. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct under_way);
} calls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct phi_edge_key);
	__type(value, struct phi_edge);
} edges SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PHI_DOMAINS);
	__type(key, __u32);
	__type(value, struct phi_service);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct phi_lost);
} lost SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

struct turn {
	__u64 since;
	__u32 domain;
	__u32 unused;
};

/* The threads of services, by Linux thread. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct turn);
} threads SEC(".maps");

/* A site's words. */
struct words {
	__u16 kind;
	__u16 domain;
	__u16 thread;
	__u64 handle;
	__u64 label;
	__u64 length;
	__u64 value;
};

static __always_inline struct words words_of(struct pt_regs *ctx)
{
	/* Low half: the kind. High half: the domain and one; zero where the supervisor speaks. */
	__u64 cookie = bpf_get_attach_cookie(ctx);
	__u32 domain = cookie >> 32;
	struct words words = {
		.kind = (__u16)cookie,
		.domain = domain ? domain - 1 : ctx->rdi,
		.thread = ctx->rsi,
		.handle = ctx->rdx,
		.label = ctx->rcx,
		.length = ctx->r8,
		.value = ctx->r9,
	};
	return words;
}

static __always_inline void count_lost(int message)
{
	__u32 zero = 0;
	struct phi_lost *counts = bpf_map_lookup_elem(&lost, &zero);

	if (counts)
		__sync_fetch_and_add(message ? &counts->messages : &counts->events, 1);
}

static __always_inline void tell(const struct words *words, __u64 time, __u16 server)
{
	struct phi_event *event;

	if (!stream)
		return;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		count_lost(0);
		return;
	}
	event->time = time;
	event->handle = words->handle;
	event->label = words->label;
	event->length = words->length;
	event->value = words->value;
	event->kind = words->kind;
	event->domain = words->domain;
	event->server = server;
	event->thread = words->thread;
	bpf_ringbuf_submit(event, 0);
}

static __always_inline struct phi_edge_key edge_of(const struct words *words)
{
	struct door door = { .domain = words->domain, .handle = words->handle };
	struct behind *behind = bpf_map_lookup_elem(&doors, &door);
	struct phi_edge_key key = {
		.label = words->label,
		.mailbox = behind ? behind->mailbox : 0xffffffff,
		.client = words->domain,
		.server = behind ? behind->server : PHI_NOBODY,
	};
	return key;
}

static const struct phi_edge no_messages;

static __always_inline struct phi_edge *edge_at(const struct phi_edge_key *key)
{
	struct phi_edge *edge = bpf_map_lookup_elem(&edges, key);

	if (edge)
		return edge;
	/* Whoever is first puts it there. */
	bpf_map_update_elem(&edges, key, &no_messages, BPF_NOEXIST);
	edge = bpf_map_lookup_elem(&edges, key);
	if (!edge)
		count_lost(1);
	return edge;
}

/* The highest bit that is set, as a bucket. */
static __always_inline __u32 bucket_of(__u64 nanoseconds)
{
	__u32 bucket = 0;

	if (nanoseconds >> 32) {
		nanoseconds >>= 32;
		bucket += 32;
	}
	if (nanoseconds >> 16) {
		nanoseconds >>= 16;
		bucket += 16;
	}
	if (nanoseconds >> 8) {
		nanoseconds >>= 8;
		bucket += 8;
	}
	if (nanoseconds >> 4) {
		nanoseconds >>= 4;
		bucket += 4;
	}
	if (nanoseconds >> 2) {
		nanoseconds >>= 2;
		bucket += 2;
	}
	if (nanoseconds >> 1)
		bucket += 1;
	return bucket < PHI_BUCKETS ? bucket : PHI_BUCKETS - 1;
}

static __always_inline void call(struct words words)
{
	struct under_way under_way = { .edge = edge_of(&words) };
	struct phi_edge *edge = edge_at(&under_way.edge);
	__u64 thread = bpf_get_current_pid_tgid();

	if (edge) {
		__sync_fetch_and_add(&edge->calls, 1);
		__sync_fetch_and_add(&edge->bytes, words.length);
	}
	/* Last, so that what is done here is not measured. */
	under_way.begun = bpf_ktime_get_ns();
	tell(&words, under_way.begun, under_way.edge.server);
	if (bpf_map_update_elem(&calls, &thread, &under_way, BPF_ANY))
		count_lost(1);
}

static __always_inline void answer(struct words words)
{
	__u64 time = bpf_ktime_get_ns();
	__u64 thread = bpf_get_current_pid_tgid();
	struct under_way *begun = bpf_map_lookup_elem(&calls, &thread);
	struct under_way under_way;
	struct phi_edge *edge;
	__u64 nanoseconds;
	__u32 bucket;

	/* None if it began before this was attached. */
	if (!begun)
		return;
	under_way = *begun;
	bpf_map_delete_elem(&calls, &thread);
	tell(&words, time, under_way.edge.server);
	edge = bpf_map_lookup_elem(&edges, &under_way.edge);
	if (!edge)
		return;
	if (words.value != 0) {
		__sync_fetch_and_add(&edge->failures, 1);
		return;
	}
	nanoseconds = time - under_way.begun;
	__sync_fetch_and_add(&edge->answers, 1);
	__sync_fetch_and_add(&edge->answer_bytes, words.length);
	__sync_fetch_and_add(&edge->nanoseconds, nanoseconds);
	bucket = bucket_of(nanoseconds);
	if (bucket < PHI_BUCKETS)
		__sync_fetch_and_add(&edge->histogram[bucket], 1);
}

static __always_inline void send(struct words words)
{
	struct phi_edge_key key = edge_of(&words);
	struct phi_edge *edge = edge_at(&key);

	if (edge && words.value == 0) {
		__sync_fetch_and_add(&edge->sends, 1);
		__sync_fetch_and_add(&edge->bytes, words.length);
	} else if (edge) {
		__sync_fetch_and_add(&edge->failures, 1);
	}
	tell(&words, bpf_ktime_get_ns(), key.server);
}

/* A domain has a capability from now on. Label: its kind. Value: server, above it the mailbox. */
static __always_inline void capability(struct words words)
{
	struct door door = { .domain = words.domain, .handle = words.handle };
	struct behind behind = { .mailbox = words.value >> 16, .server = words.value };

	if (words.label == KIND_MAILBOX || words.label == KIND_OBJECT)
		bpf_map_update_elem(&doors, &door, &behind, BPF_ANY);
	tell(&words, bpf_ktime_get_ns(), PHI_NOBODY);
}

static __always_inline void service(struct words words)
{
	__u32 domain = words.domain;
	struct phi_service *held = bpf_map_lookup_elem(&services, &domain);

	if (held) {
		switch (words.kind) {
		case PHI_SERVICE_START:
			__sync_fetch_and_add(&held->starts, 1);
			break;
		case PHI_SERVICE_EXIT:
			__sync_fetch_and_add(&held->exits, 1);
			break;
		case PHI_SERVICE_FAULT:
			__sync_fetch_and_add(&held->faults, 1);
			break;
		case PHI_SERVICE_STOP:
			__sync_fetch_and_add(&held->stops, 1);
			break;
		}
	}
	tell(&words, bpf_ktime_get_ns(), PHI_NOBODY);
}

/* Runs in the thread that begins. */
static __always_inline void thread_begin(struct words words)
{
	struct turn turn = { .since = bpf_ktime_get_ns(), .domain = words.domain };
	__u32 thread = (__u32)bpf_get_current_pid_tgid();

	bpf_map_update_elem(&threads, &thread, &turn, BPF_ANY);
	tell(&words, turn.since, PHI_NOBODY);
}

/* Everything that is only told. */
static __always_inline void note(struct words words)
{
	tell(&words, bpf_ktime_get_ns(), PHI_NOBODY);
}

SEC("uprobe.multi")
int site(struct pt_regs *ctx)
{
	struct words words = words_of(ctx);

	switch (words.kind) {
	case PHI_CALL:
		call(words);
		break;
	case PHI_ANSWER:
		answer(words);
		break;
	case PHI_SEND:
		send(words);
		break;
	case PHI_THREAD_BEGIN:
		thread_begin(words);
		break;
	case PHI_CAPABILITY_START:
	case PHI_CAPABILITY_MAKE:
	case PHI_CAPABILITY_DERIVE:
	case PHI_CAPABILITY_TRANSFER:
		capability(words);
		break;
	case PHI_SERVICE_START:
	case PHI_SERVICE_EXIT:
	case PHI_SERVICE_FAULT:
	case PHI_SERVICE_STOP:
		service(words);
		break;
	default:
		note(words);
	}
	return 0;
}

/* What is read of the kernel's own record of a thread; libbpf finds where it stands. */
struct task_struct {
	int pid;
	unsigned int flags;
} __attribute__((preserve_access_index));

#define PF_EXITING 0x4

SEC("tp_btf/sched_switch")
int processor(__u64 *ctx)
{
	struct task_struct *previous = (struct task_struct *)ctx[1];
	struct task_struct *next = (struct task_struct *)ctx[2];
	__u64 now = bpf_ktime_get_ns();
	__u32 thread = previous->pid;
	struct turn *turn = bpf_map_lookup_elem(&threads, &thread);

	if (turn) {
		__u32 domain = turn->domain;
		struct phi_service *held = bpf_map_lookup_elem(&services, &domain);

		if (held)
			__sync_fetch_and_add(&held->processor, now - turn->since);
		/* Its number will be another thread's. */
		if (previous->flags & PF_EXITING)
			bpf_map_delete_elem(&threads, &thread);
	}
	thread = next->pid;
	turn = bpf_map_lookup_elem(&threads, &thread);
	if (turn)
		turn->since = now;
	return 0;
}
