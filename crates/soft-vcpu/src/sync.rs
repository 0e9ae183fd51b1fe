// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What vCPUs tell each other by: the standard library's, or the model checker's (`cfg(loom)`).

#[cfg(loom)]
pub(crate) use checked::{AtomicBool, AtomicU32, AtomicU64};
#[cfg(loom)]
pub(crate) use loom::{sync::atomic::fence, sync::Mutex, thread::yield_now};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{fence, AtomicBool, AtomicU32, AtomicU64};
#[cfg(not(loom))]
pub(crate) use std::{sync::Mutex, thread::yield_now};

/// `SeqCst` accesses in the terms that loom has. It takes them for `AcqRel`, or lets a load see too
/// little; its fences it takes for what they are. So an access is what it is compiled to for x86,
/// the only host there is: a load is a plain one, a store is an exchange, and what is locked is a
/// fence. Weaker orders stay as weak as they are written.
#[cfg(loom)]
mod checked {
    use std::sync::atomic::Ordering::{self, AcqRel, Acquire, SeqCst};

    macro_rules! atomic {
        ($name:ident, $value:ty, [$($change:ident),*]) => {
            #[derive(Debug, Default)]
            pub(crate) struct $name(loom::sync::atomic::$name);

            impl $name {
                pub fn load(&self, order: Ordering) -> $value {
                    self.0.load(if order == SeqCst { Acquire } else { order })
                }

                pub fn store(&self, value: $value, order: Ordering) {
                    match order {
                        SeqCst => _ = self.swap(value, SeqCst),
                        _ => self.0.store(value, order),
                    }
                }

                $(pub fn $change(&self, value: $value, order: Ordering) -> $value {
                    locked(order, |order| self.0.$change(value, order))
                })*

                #[allow(dead_code)]
                pub fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    order: Ordering,
                    _: Ordering,
                ) -> Result<$value, $value> {
                    locked(order, |order| self.0.compare_exchange(current, new, order, Acquire))
                }
            }
        };
    }
    atomic!(AtomicBool, bool, [swap]);
    atomic!(AtomicU32, u32, [swap, fetch_add]);
    atomic!(AtomicU64, u64, [swap, fetch_add, fetch_or]);

    fn locked<T>(order: Ordering, access: impl FnOnce(Ordering) -> T) -> T {
        if order != SeqCst {
            return access(order);
        }
        let result = access(AcqRel);
        super::fence(SeqCst);
        result
    }
}
