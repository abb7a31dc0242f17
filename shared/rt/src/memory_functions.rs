//! The functions that compiled code expects of its surroundings, for x86-64.
//!
//! They are assembly, because a compiler turns such loops into calls of themselves. They expand
//! into the image alone, so that native tests keep those of their system.

/// Defines `memcpy`, `memmove`, `memset`, `memcmp`, `bcmp`, `strlen` and the unwinder's symbols,
/// which the precompiled `core` names and a program that ends at a panic never reaches.
#[doc(hidden)]
#[macro_export]
macro_rules! memory_functions {
    () => {
        /// Copies; the two may overlap, so it serves as `memmove` too.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
            $crate::copy_body!()
        }

        /// Copies between places that may overlap.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
            $crate::copy_body!()
        }

        /// Fills with the low byte of `byte`.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn memset(to: *mut u8, byte: i32, length: usize) -> *mut u8 {
            $crate::fill_body!()
        }

        /// Compares bytewise: negative, 0 or positive.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, length: usize) -> i32 {
            $crate::compare_body!()
        }

        /// Compares bytewise: 0 when equal.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, length: usize) -> i32 {
            $crate::compare_body!()
        }

        /// Bytes before the first zero.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn strlen(text: *const u8) -> usize {
            $crate::length_body!()
        }

        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn rust_eh_personality() {
            core::arch::naked_asm!("ud2")
        }

        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn _Unwind_Resume() -> ! {
            core::arch::naked_asm!("ud2")
        }
    };
}

/// Copies `rdx` bytes from `rsi` to `rdi`. Up to 32 bytes, all is loaded before anything is stored;
/// beyond, the end that the direction would overwrite is loaded first and stored last.
#[doc(hidden)]
#[macro_export]
macro_rules! copy_body {
    () => {
        core::arch::naked_asm!(
            "mov rax, rdi",
            "cmp rdx, 16",
            "jb 20f",
            "cmp rdx, 32",
            "ja 30f",
            "movups xmm0, [rsi]",
            "movups xmm1, [rsi + rdx - 16]",
            "movups [rdi], xmm0",
            "movups [rdi + rdx - 16], xmm1",
            "ret",
            // Below 16 bytes: two loads of the same width that overlap in the middle.
            "20:",
            "cmp rdx, 8",
            "jb 21f",
            "mov rcx, [rsi]",
            "mov r8, [rsi + rdx - 8]",
            "mov [rdi], rcx",
            "mov [rdi + rdx - 8], r8",
            "ret",
            "21:",
            "cmp rdx, 4",
            "jb 22f",
            "mov ecx, [rsi]",
            "mov r8d, [rsi + rdx - 4]",
            "mov [rdi], ecx",
            "mov [rdi + rdx - 4], r8d",
            "ret",
            "22:",
            "cmp rdx, 2",
            "jb 23f",
            "movzx ecx, word ptr [rsi]",
            "movzx r8d, word ptr [rsi + rdx - 2]",
            "mov [rdi], cx",
            "mov [rdi + rdx - 2], r8w",
            "ret",
            "23:",
            "test rdx, rdx",
            "je 24f",
            "mov cl, [rsi]",
            "mov [rdi], cl",
            "24:",
            "ret",
            // More than 32 bytes, upwards unless the target begins inside the source.
            "30:",
            "mov rcx, rdi",
            "sub rcx, rsi",
            "cmp rcx, rdx",
            "jb 40f",
            "movups xmm2, [rsi + rdx - 32]",
            "movups xmm3, [rsi + rdx - 16]",
            "lea r8, [rdi + rdx - 32]",
            "31:",
            "movups xmm0, [rsi]",
            "movups xmm1, [rsi + 16]",
            "movups [rdi], xmm0",
            "movups [rdi + 16], xmm1",
            "add rsi, 32",
            "add rdi, 32",
            "cmp rdi, r8",
            "jb 31b",
            "movups [r8], xmm2",
            "movups [r8 + 16], xmm3",
            "ret",
            // Downwards.
            "40:",
            "movups xmm2, [rsi]",
            "movups xmm3, [rsi + 16]",
            "41:",
            "movups xmm0, [rsi + rdx - 16]",
            "movups xmm1, [rsi + rdx - 32]",
            "movups [rdi + rdx - 16], xmm0",
            "movups [rdi + rdx - 32], xmm1",
            "sub rdx, 32",
            "cmp rdx, 32",
            "ja 41b",
            "movups [rdi], xmm2",
            "movups [rdi + 16], xmm3",
            "ret",
        )
    };
}

/// Fills `rdx` bytes from `rdi` on with the low byte of `esi`.
#[doc(hidden)]
#[macro_export]
macro_rules! fill_body {
    () => {
        core::arch::naked_asm!(
            "mov rax, rdi",
            "movzx ecx, sil",
            "movabs r8, 0x0101010101010101",
            "imul rcx, r8",
            "cmp rdx, 16",
            "jb 20f",
            "movq xmm0, rcx",
            "punpcklqdq xmm0, xmm0",
            "lea r8, [rdi + rdx - 16]",
            "10:",
            "movups [rdi], xmm0",
            "add rdi, 16",
            "cmp rdi, r8",
            "jb 10b",
            "movups [r8], xmm0",
            "ret",
            "20:",
            "cmp rdx, 8",
            "jb 21f",
            "mov [rdi], rcx",
            "mov [rdi + rdx - 8], rcx",
            "ret",
            "21:",
            "cmp rdx, 4",
            "jb 22f",
            "mov [rdi], ecx",
            "mov [rdi + rdx - 4], ecx",
            "ret",
            "22:",
            "test rdx, rdx",
            "je 24f",
            "mov [rdi], cl",
            "mov [rdi + rdx - 1], cl",
            "cmp rdx, 3",
            "jb 24f",
            "mov [rdi + 1], cl",
            "24:",
            "ret",
        )
    };
}

/// Compares `rdx` bytes at `rdi` and `rsi`, eight at a time while there are as many.
#[doc(hidden)]
#[macro_export]
macro_rules! compare_body {
    () => {
        core::arch::naked_asm!(
            "10:",
            "cmp rdx, 8",
            "jb 20f",
            "mov rax, [rdi]",
            "mov rcx, [rsi]",
            "cmp rax, rcx",
            "jne 30f",
            "add rdi, 8",
            "add rsi, 8",
            "sub rdx, 8",
            "jmp 10b",
            "20:",
            "test rdx, rdx",
            "je 40f",
            "movzx eax, byte ptr [rdi]",
            "movzx ecx, byte ptr [rsi]",
            "cmp eax, ecx",
            "jne 31f",
            "inc rdi",
            "inc rsi",
            "dec rdx",
            "jmp 20b",
            // The first byte that differs decides: as numbers, the first byte must be the highest.
            "30:",
            "bswap rax",
            "bswap rcx",
            "cmp rax, rcx",
            "31:",
            "sbb eax, eax",
            "or eax, 1",
            "ret",
            "40:",
            "xor eax, eax",
            "ret",
        )
    };
}

/// Counts the bytes before the first zero at `rdi`.
#[doc(hidden)]
#[macro_export]
macro_rules! length_body {
    () => {
        core::arch::naked_asm!(
            "xor eax, eax",
            "10:",
            "cmp byte ptr [rdi + rax], 0",
            "je 20f",
            "inc rax",
            "jmp 10b",
            "20:",
            "ret",
        )
    };
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use alloc::vec::Vec;

    #[unsafe(naked)]
    unsafe extern "C" fn copy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
        copy_body!()
    }

    #[unsafe(naked)]
    unsafe extern "C" fn fill(to: *mut u8, byte: i32, length: usize) -> *mut u8 {
        fill_body!()
    }

    #[unsafe(naked)]
    unsafe extern "C" fn compare(left: *const u8, right: *const u8, length: usize) -> i32 {
        compare_body!()
    }

    #[unsafe(naked)]
    unsafe extern "C" fn length(text: *const u8) -> usize {
        length_body!()
    }

    fn pattern(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|index| (index * 7 + index / 251) as u8).collect()
    }

    #[test]
    fn copies_every_length_and_overlap() {
        for size in 0..200 {
            for (from, to) in [(0, 200), (0, 1), (1, 0), (0, 15), (40, 3), (3, 40), (5, 5)] {
                let mut bytes = pattern(400);
                let mut expected = bytes.clone();
                expected.copy_within(from..from + size, to);
                let base = bytes.as_mut_ptr();
                // SAFETY: both places lie within the 400 bytes.
                let result = unsafe { copy(base.add(to), base.add(from), size) };
                assert_eq!(result as usize, base as usize + to);
                assert!(bytes == expected, "{size} bytes from {from} to {to}");
            }
        }
    }

    #[test]
    fn fills_every_length() {
        for size in 0..200 {
            let mut bytes = pattern(300);
            let mut expected = bytes.clone();
            expected[9..9 + size].fill(0xA5);
            // SAFETY: 9 + 200 bytes lie within the 300.
            unsafe { fill(bytes.as_mut_ptr().add(9), 0x3A5, size) };
            assert!(bytes == expected, "{size} bytes");
        }
    }

    #[test]
    fn compares_as_slices_do() {
        let left = pattern(64);
        for size in 0..64 {
            for place in 0..64 {
                for change in [0u8, 1, 0x80, 0xFF] {
                    let mut right = left.clone();
                    right[place] = right[place].wrapping_add(change);
                    // SAFETY: both hold 64 bytes.
                    let result = unsafe { compare(left.as_ptr(), right.as_ptr(), size) };
                    assert_eq!(result.cmp(&0), left[..size].cmp(&right[..size]));
                }
            }
        }
    }

    #[test]
    fn measures_text() {
        // SAFETY: both end with a zero.
        unsafe {
            assert_eq!(length(c"".as_ptr().cast()), 0);
            assert_eq!(length(c"words".as_ptr().cast()), 5);
        }
    }
}
