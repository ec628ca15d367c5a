//! What the NDK's crtbegin_dynamic.o and libunwind.a would bring to a Rust program for Android,
//! for builds without an NDK. `build.sh` compiles this file to one object.
//!
//! `_start` hands over to bionic: `__libc_init(raw_args, onexit, main, structors)` (bionic
//! libc/bionic/libc_init_dynamic.cpp). For a dynamic program it reads only `fini_array` of the
//! structors, where zero means that there are none; the linker runs all others.
//!
//! Muzzle is built with `panic = "abort"`, so nothing is ever unwound. Two functions are called
//! all the same, to print a backtrace: they answer that the stack ends here (5,
//! `_URC_END_OF_STACK`). The others abort. A panic still says its message and its place.

#![no_std]

core::arch::global_asm!(
    r#"
    .text
    .globl _start
    .type _start, %function
_start:
    mov     x29, #0
    mov     x30, #0
    mov     x0, sp
    mov     x1, #0
    adrp    x2, :got:main
    ldr     x2, [x2, :got_lo12:main]
    adrp    x3, no_structors
    add     x3, x3, :lo12:no_structors
    bl      __libc_init
    brk     #1
    .size _start, . - _start

    .globl _Unwind_Backtrace
    .type _Unwind_Backtrace, %function
_Unwind_Backtrace:
    mov     w0, #5
    ret

    .globl _Unwind_FindEnclosingFunction, _Unwind_GetCFA, _Unwind_GetIP
    .type _Unwind_FindEnclosingFunction, %function
    .type _Unwind_GetCFA, %function
    .type _Unwind_GetIP, %function
_Unwind_FindEnclosingFunction:
_Unwind_GetCFA:
_Unwind_GetIP:
    mov     x0, #0
    ret

    .macro never name
    .globl \name
    .type \name, %function
\name:
    .endm
    never _Unwind_DeleteException
    never _Unwind_GetDataRelBase
    never _Unwind_GetIPInfo
    never _Unwind_GetLanguageSpecificData
    never _Unwind_GetRegionStart
    never _Unwind_GetTextRelBase
    never _Unwind_RaiseException
    never _Unwind_Resume
    never _Unwind_SetGR
    never _Unwind_SetIP
    bl      abort

    .bss
    .balign 16
no_structors:
    .zero   64

    // What `file` and `readelf -n` show: for Android, API level 26.
    .section .note.android.ident, "a", %note
    .balign 4
    .long   8
    .long   4
    .long   1
    .asciz  "Android"
    .long   26
"#
);
