//! The first instructions: from PVH's 32-bit protected mode to Rust in the higher half.
//!
//! A loader finds the entry in the `XEN_ELFNOTE_PHYS32_ENTRY` note and enters it with paging off and
//! `ebx` = physical address of the start info (Xen's `docs/misc/pvh.pandoc`). The tables made here map
//! the first 4 GiB twice, at 0 and at [`super::paging::DIRECT_MAP`], and the kernel's first GiB at its
//! link address; [`super::paging`] replaces them soon.

use core::arch::global_asm;

global_asm!(
    r#"
    .section .boot.note, "a", @note
    .balign 4
    .long 4, 8, 18          // Lengths of name and content; XEN_ELFNOTE_PHYS32_ENTRY.
    .asciz "Xen"
    .quad boot_entry

    .section .boot.text, "ax", @progbits
    .code32
    .global boot_entry
boot_entry:
    cli
    cld
    rdtsc
    mov esi, eax
    mov edi, edx
    mov esp, offset stack_end - {base}

    // Four page directories: 2048 large pages, present, writable.
    mov ecx, offset boot_directories - {base}
    mov eax, 0x83
2:  mov dword ptr [ecx], eax
    mov dword ptr [ecx + 4], 0
    add ecx, 8
    add eax, 0x200000
    jnc 2b

    // They fill the first four entries of one table, which stands at 0 and at the direct map.
    mov ecx, offset boot_low_table - {base}
    mov eax, offset boot_directories - {base} + 3
    mov edx, 4
3:  mov dword ptr [ecx], eax
    add ecx, 8
    add eax, 0x1000
    dec edx
    jnz 3b
    mov ecx, offset boot_root_table - {base}
    mov eax, offset boot_low_table - {base} + 3
    mov dword ptr [ecx], eax
    mov dword ptr [ecx + 256 * 8], eax
    // The kernel's link address: the last but one GiB.
    mov eax, offset boot_high_table - {base} + 3
    mov dword ptr [ecx + 511 * 8], eax
    mov eax, offset boot_directories - {base} + 3
    mov edx, offset boot_high_table - {base}
    mov dword ptr [edx + 510 * 8], eax

    mov cr3, ecx
    mov eax, cr4
    or eax, 0x20            // Physical address extension.
    mov cr4, eax
    push edi
    mov ecx, 0xC0000080     // EFER: long mode.
    rdmsr
    or eax, 0x100
    wrmsr
    pop edi
    mov eax, 0x80010033     // Paging, write protection, numeric errors, extension type, protection.
    mov cr0, eax
    mov ecx, offset boot_segments_pointer
    lgdt [ecx]
    push 8
    mov eax, offset boot_long
    push eax
    retf

    .code64
boot_long:
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov fs, eax
    mov gs, eax
    mov rsp, offset stack_end
    shl rdi, 32
    mov esi, esi
    or rsi, rdi             // The time stamp of the entry.
    mov edi, ebx            // The start info.
    xor ebp, ebp
    movabs rax, offset {start}
    call rax
    ud2

    .balign 8
boot_segments:
    .quad 0
    .quad 0x00AF9B000000FFFF
boot_segments_pointer:
    .word 15
    .long boot_segments

    .section .bss.boot_tables, "aw", @nobits
    .balign 4096
boot_root_table:
    .skip 4096
boot_low_table:
    .skip 4096
boot_high_table:
    .skip 4096
boot_directories:
    .skip 4 * 4096
    .text
"#,
    base = const super::paging::KERNEL_BASE,
    start = sym super::boot::start,
);
