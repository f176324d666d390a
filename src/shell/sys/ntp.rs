//! Whether something disciplines the wall clock: one read of the kernel's clock state (adjtimex(2)).
//!
//! Must never set anything: `modes` stays 0, so no privilege is needed. A seccomp filter of systemd's `@clock` group
//! (`ProtectClock=yes`) refuses even the read; dropping `CAP_SYS_TIME` instead protects the clock as well.
#![expect(unsafe_code, reason = "no safe crate at hand offers adjtimex(2)")]

use std::io;

/// The estimate at which the kernel gives up: nobody disciplines the clock (`NTP_PHASE_LIMIT`, 16 s).
const MAXERROR_LIMIT_MICROS: libc::c_long = 16_000_000;

/// Whether the kernel's own bound on the clock's error is below 16 s.
///
/// The bound starts at 16 s, grows by 0.5 ms a second without an update, and returns to 16 s when anybody sets the
/// clock by hand. The flag `STA_UNSYNC` is not asked: some time services keep it set only to protect the hardware clock.
pub fn clock_is_disciplined() -> io::Result<bool> {
    // SAFETY: `timex` is plain integers, for which all zero bytes are a valid value.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live, writable `timex`; the call writes nothing else and keeps no pointer.
    let answer = unsafe { libc::adjtimex(&raw mut state) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(state.maxerror < MAXERROR_LIMIT_MICROS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_needs_no_privilege_and_answers() {
        assert!(clock_is_disciplined().is_ok());
    }
}
