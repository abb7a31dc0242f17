//! What a service may not do.

use core::arch::asm;

/// How many there are.
pub const STUNTS: u64 = 44;

/// Does number `stunt`; `word` is an address or a value for it. Mostly it does not come back.
#[expect(unsafe_code, reason = "it is what this is about")]
pub fn perform(stunt: u64, word: u64) {
    // SAFETY: each of these ends the service, or does nothing: its memory is worth nothing at its end.
    unsafe {
        match stunt {
            0 => asm!("ud2"),
            1 => asm!("int3"),
            2 => asm!("xor eax, eax", "div eax", out("eax") _, out("edx") _),
            3 => asm!("hlt"),
            4 => asm!("in al, dx", in("dx") 0x3F8u16, out("al") _),
            5 => asm!("out dx, al", in("dx") 0xF4u16, in("al") 3u8),
            6 => asm!("rdmsr", in("ecx") 0x174u32, out("eax") _, out("edx") _),
            7 => asm!("wrmsr", in("ecx") 0xC000_0082u32, in("eax") 0, in("edx") 0),
            8 => asm!("mov cr3, {}", in(reg) 0u64),
            9 => asm!("mov {}, cr0", out(reg) _),
            10 => asm!("lgdt [{}]", in(reg) word),
            11 => asm!("lidt [{}]", in(reg) word),
            12 => asm!("cli"),
            13 => asm!("sti"),
            14 => asm!("int 0x80"),
            15 => asm!("int 0x20"),
            16 => asm!("int 0x40"),
            17 => asm!("int 0x08"),
            18 => asm!("int 0x02"),
            19 => (word as *mut u64).write_volatile(1),
            20 => asm!("mov {0}, [{0}]", inout(reg) 0xFFFF_8000_0010_0000u64 => _),
            21 => asm!("mov [{0}], {0}", in(reg) 0xFFFF_FFFF_8020_0000u64),
            22 => asm!("jmp {}", in(reg) 0xFFFF_FFFF_8020_0000u64),
            23 => asm!("mov {0}, [{0}]", inout(reg) 0x8000_0000_0000_0000u64 => _),
            24 => asm!("jmp {}", in(reg) 0x0000_8000_0000_0000u64),
            25 => {
                asm!("mov rsp, {}", "push rax", in(reg) 0x0000_8000_0000_0000u64, options(noreturn))
            }
            26 => {
                asm!("mov rsp, {}", "mov eax, 27", "syscall", "ud2", in(reg) word, options(noreturn))
            }
            27 => asm!(
                "pushfq", "or qword ptr [rsp], 0x100", "popfq", "mov eax, 27", "syscall", "nop",
                out("rax") _, out("rcx") _, out("r11") _, out("rdx") _
            ),
            28 => asm!("mov eax, ss", "mov ss, eax", "int3", out("eax") _),
            29 => {
                asm!("push {0}", "push {0}", "push {0}", "push 8", "push {0}", "iretq", in(reg) word)
            }
            30 => asm!("sysretq"),
            31 => asm!("ltr {0:x}", in(reg) 0x28u64),
            32 => asm!("push 8", "push {}", "retfq", in(reg) word),
            33 => asm!("stac"),
            34 => asm!("xsetbv", in("ecx") 0, in("eax") 1, in("edx") 0),
            35 => asm!("ldmxcsr [{}]", in(reg) &raw const word),
            36 => asm!("xrstor [{}]", in(reg) (word & !63), in("eax") u32::MAX, in("edx") u32::MAX),
            37 => overflow(0),
            38 => asm!("pushfq", "or qword ptr [rsp], 0x40000", "popfq", "mov {0}, [{0}]",
                inout(reg) (&raw const word as u64 + 1) => _),
            39 => asm!("invlpg [{}]", in(reg) word),
            40 => asm!("swapgs"),
            41 => asm!("rdpmc", in("ecx") 0, out("eax") _, out("edx") _),
            42 => asm!("pushfq", "or qword ptr [rsp], 0x7000", "popfq", "mov eax, 27", "syscall",
                out("rax") _, out("rcx") _, out("r11") _, out("rdx") _),
            43 => asm!("mov {0:r}, gs:[0]", out(reg) _),
            _ => {}
        }
    }
}

/// Uses its stack up.
fn overflow(depth: u64) {
    let room = [depth; 64];
    // For ever, but nobody is to know.
    if core::hint::black_box(&room)[0] != u64::MAX {
        overflow(depth + 1);
    }
    core::hint::black_box(&room);
}
