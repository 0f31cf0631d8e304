package main

import (
	"syscall"
	"unsafe"
)

// most is how many bytes of address space the tests with a mutant may have.
const most = 8 << 30

// limitMemory limits the address space of a process; where that is not possible nothing happens, and only the timeout
// bounds a mutant. See prlimit(2).
func limitMemory(pid int) {
	limit := syscall.Rlimit{Cur: most, Max: most}
	_, _, _ = syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(pid), syscall.RLIMIT_AS, uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
}
