// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! EVT-2.

use std::format;
use std::vec::Vec;

use crate::{Request, Requests};

#[test]
fn evt_2_acrn_ids_are_those_of_its_headers() {
    let by_id: Vec<_> = (0..12).map(|id| Request::from_acrn_id(id).unwrap()).collect();
    use Request::*;
    #[rustfmt::skip]
    assert_eq!(by_id, [
        Exception, Event, ExtInt, Nmi, LoadEoiExitmap, TlbFlush, TripleFault, TlbFlushGuest,
        InitVmcs, WaitWbinvd, SplitLock, SmpCall,
    ]);
    assert_eq!(Request::from_acrn_id(12), None);
}

#[test]
fn evt_2_kvm_numbers_are_those_of_its_headers() {
    use Request::*;
    // include/linux/kvm_host.h, then arch/x86/include/asm/kvm_host.h from bit 8.
    #[rustfmt::skip]
    let expected = [
        (0, TlbFlush), (1, VmDead), (2, Unblock), (3, DirtyRingSoftFull),
        (8, MigrateTimer), (9, ReportTprAccess), (10, TripleFault), (11, MmuSync),
        (12, ClockUpdate), (13, LoadMmuPgd), (14, Event), (15, ApfHalt), (16, StealUpdate),
        (17, Nmi), (18, Pmu), (19, Pmi), (20, Smi), (21, MasterclockUpdate),
        (22, MclockInProgress), (23, ScanIoapic), (24, GlobalClockUpdate), (25, ApicPageReload),
        (26, HvCrash), (27, IoapicEoiExit), (28, HvReset), (29, HvExit), (30, HvStimer),
        (31, LoadEoiExitmap), (32, GetNestedStatePages), (33, ApicvUpdate),
        (34, TlbFlushCurrent), (35, TlbFlushGuest), (36, ApfReady), (37, MsrFilterChanged),
        (38, UpdateCpuDirtyLogging), (39, MmuFreeObsoleteRoots), (40, HvTlbFlush),
        (42, UpdateProtectedGuestState),
    ];
    let found: Vec<_> =
        (0..64).filter_map(|bit| Request::from_kvm_bit(bit).map(|r| (bit, r))).collect();
    assert_eq!(found, expected);
}

#[test]
fn evt_2_requests_are_handled_from_vm_dead_to_event() {
    use Request::*;
    let order: Vec<_> = Requests::ALL.into_iter().collect();
    assert_eq!(order.first(), Some(&VmDead));
    assert_eq!(order.last(), Some(&Event));
    assert_eq!(order, Request::ALL, "each once");
    // vcpu_enter_guest()'s order for those that a VMM acts on.
    #[rustfmt::skip]
    let kvm = [
        VmDead, MigrateTimer, ClockUpdate, ReportTprAccess, TripleFault, ApfHalt, Smi, Nmi, Pmi,
        IoapicEoiExit, ScanIoapic, LoadEoiExitmap, HvCrash, HvReset, HvExit, HvStimer,
        ApicvUpdate, ApfReady, Event,
    ];
    let user_visible: Vec<_> =
        order.into_iter().filter(|r| !r.is_kernel_internal() && r.kvm_bit().is_some()).collect();
    assert_eq!(user_visible, kvm);
}

#[test]
fn evt_2_kernel_internal_requests_are_marked() {
    use Request::*;
    #[rustfmt::skip]
    let internal = [
        DirtyRingSoftFull, InitVmcs, GetNestedStatePages, MmuFreeObsoleteRoots, MasterclockUpdate,
        MclockInProgress, GlobalClockUpdate, MmuSync, LoadMmuPgd, TlbFlush, TlbFlushCurrent,
        TlbFlushGuest, HvTlbFlush, StealUpdate, WaitWbinvd, SplitLock, SmpCall, Pmu,
        ApicPageReload, MsrFilterChanged, UpdateCpuDirtyLogging, UpdateProtectedGuestState,
        Unblock,
    ];
    let marked: Vec<_> = Request::ALL.iter().copied().filter(|r| r.is_kernel_internal()).collect();
    assert_eq!(marked, internal);
}

#[test]
fn evt_2_no_wakeup_requests_are_kvms_but_for_vm_dead() {
    use Request::*;
    let sleeping: Vec<_> = Request::ALL.iter().copied().filter(|r| !r.wakes()).collect();
    #[rustfmt::skip]
    assert_eq!(sleeping, [
        MmuFreeObsoleteRoots, MclockInProgress, TlbFlush, TlbFlushGuest, HvTlbFlush, ScanIoapic,
        ApicPageReload, ApicvUpdate, UpdateCpuDirtyLogging,
    ]);
    assert!(Requests::WAKING.contains(VmDead) && !Requests::WAKING.contains(TlbFlush));
}

#[test]
fn evt_2_a_set_drops_unknown_bits_and_prints_its_members() {
    assert_eq!(Requests::from_bits_truncate(u64::MAX), Requests::ALL);
    let set: Requests = [Request::Event, Request::Nmi].into_iter().collect();
    assert_eq!(format!("{set:?}"), "{Nmi, Event}");
    assert_eq!(Requests::from_bits_truncate(set.bits()), set);
}
