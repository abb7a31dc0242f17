/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Programs that do nothing, of kinds that not every kernel lets in: `phi-host doctor` loads and
 * attaches them one by one.
 */
#include <linux/bpf.h>
#include <bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

SEC("fentry/security_file_open")
int entry(void *ctx)
{
	(void)ctx;
	return 0;
}

SEC("lsm/file_open")
int veto(void *ctx)
{
	(void)ctx;
	return 0;
}
