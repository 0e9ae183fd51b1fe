// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Interrupt source groups: what a device model holds to raise its interrupts.
//!
//! A device sees one trait, [`InterruptSourceGroup`], whatever its interrupts are made of: a
//! legacy line ([`crate::LegacyGroup`]), MSI ([`crate::MsiGroup`]) or MSI-X
//! ([`crate::MsixGroup`]). All methods take `&self` and may be called from any thread; raising
//! an MSI takes no lock and allocates nothing.
//!
//! A group reaches the machine through a backend, [`LineBackend`] or [`MsiBackend`], which the
//! VMM implements once.

use alloc::sync::Arc;
use core::convert::Infallible;

use crate::{ConnectError, Delivery, Gsi, InvalidMsi, Msi, Resample, RouteError, SourceId};

/// What a group's interrupts are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupKind {
    /// A line to the PIC and IOAPIC: ISA, or PCI INTx.
    Legacy,
    /// The MSI capability: one message, up to 32 consecutive vectors.
    Msi,
    /// The MSI-X capability: a table of messages.
    Msix,
}

/// How one source of a group is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceConfig {
    /// A legacy line, edge- or level-triggered.
    Legacy(crate::TriggerMode),
    /// A message.
    Msi(Msi),
}

/// Why a group refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The group has no source of that index.
    #[error("the group has no interrupt source {0}")]
    InvalidIndex(usize),
    /// The group cannot have so many sources.
    #[error("a group of this kind cannot have {0} interrupt sources")]
    InvalidLength(usize),
    /// The configuration is one for another kind of group.
    #[error("the configuration is for another kind of group")]
    WrongKind,
    /// The message means no interrupt.
    #[error(transparent)]
    InvalidMsi(#[from] InvalidMsi),
    /// The line cannot be connected.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The routes cannot be changed.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// A saved state that no group of this kind and size can be in.
    #[error("the saved state is not one that this group can be in")]
    InvalidState,
    /// No GSI is left.
    #[error("no GSI is left for a notifier")]
    NoGsi,
    /// The backend has no notifiers.
    #[error("the machine offers no notifiers for these interrupts")]
    NoNotifiers,
    /// The hypervisor refused, with this errno.
    #[error("the hypervisor refused the change (errno {0})")]
    Hypervisor(i32),
}

/// A device's interrupts.
///
/// An interrupt raised while its source is masked is not lost: it is pending until the source
/// is unmasked, and then delivered once (PCI Express Base Specification, "Per-vector Masking
/// and Function Masking"; for lines the same is done).
pub trait InterruptSourceGroup: Send + Sync {
    /// What signals a source without the group at hand, for instance an eventfd that an irqfd
    /// or a vhost device holds. [`Infallible`] where there is none.
    type Notifier;

    /// What the interrupts are made of.
    fn kind(&self) -> GroupKind;

    /// How many sources there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Switches the group on. Until then, triggers are ignored.
    ///
    /// # Errors
    /// What the backend refuses; the group is off then.
    fn enable(&self) -> Result<(), GroupError>;

    /// Switches the group off and withdraws its levels and routes. Pending bits stay.
    ///
    /// # Errors
    /// What the backend refuses; the group is off all the same.
    fn disable(&self) -> Result<(), GroupError>;

    /// Raises an interrupt: sends the message, asserts a level line, or pulses an edge line.
    ///
    /// `Ignored` when the group is off, `Coalesced` when the source is masked and the interrupt
    /// waits in its pending bit.
    ///
    /// # Errors
    /// [`GroupError::InvalidIndex`].
    fn trigger(&self, index: usize) -> Result<Delivery, GroupError>;

    /// Takes an assertion back: lowers a level line. A message cannot be taken back; what is
    /// still pending can, see [`InterruptSourceGroup::clear_pending`].
    ///
    /// # Errors
    /// [`GroupError::InvalidIndex`].
    fn deassert(&self, index: usize) -> Result<(), GroupError>;

    /// Masks a source.
    ///
    /// # Errors
    /// [`GroupError::InvalidIndex`], and what the backend refuses.
    fn mask(&self, index: usize) -> Result<(), GroupError>;

    /// Unmasks a source and delivers what is pending.
    ///
    /// # Errors
    /// [`GroupError::InvalidIndex`], and what the backend refuses.
    fn unmask(&self, index: usize) -> Result<(), GroupError>;

    /// Whether a source is masked, by its own bit or with the whole function.
    ///
    /// # Errors
    /// [`GroupError::InvalidIndex`].
    fn is_masked(&self, index: usize) -> Result<bool, GroupError>;

    /// Whether an interrupt of a source waits for its unmasking.
    ///
    /// # Errors
    /// [`GroupError::InvalidIndex`].
    fn is_pending(&self, index: usize) -> Result<bool, GroupError>;

    /// Forgets a waiting interrupt, when the guest served its cause in another way.
    ///
    /// # Errors
    /// [`GroupError::InvalidIndex`].
    fn clear_pending(&self, index: usize) -> Result<(), GroupError>;

    /// Configures a source and its mask in one step: no interrupt is sent that mixes the old
    /// and the new configuration.
    ///
    /// # Errors
    /// [`GroupError::InvalidIndex`], [`GroupError::WrongKind`], [`GroupError::InvalidMsi`], and
    /// what the backend refuses.
    fn update(&self, index: usize, config: SourceConfig, masked: bool) -> Result<(), GroupError>;

    /// What signals a source from elsewhere. The first call for a source takes a GSI and routes
    /// it; both are given back when the group is dropped.
    ///
    /// # Errors
    /// [`GroupError::InvalidIndex`], [`GroupError::NoNotifiers`], [`GroupError::NoGsi`], and
    /// what the backend refuses.
    fn notifier(&self, index: usize) -> Result<Self::Notifier, GroupError>;
}

/// What a machine offers to the legacy lines of its devices: its [`crate::Router`], behind its
/// lock.
pub trait LineBackend: Send + Sync {
    /// What signals a line from elsewhere.
    type Notifier;

    /// [`crate::Router::connect`].
    ///
    /// # Errors
    /// As there.
    fn connect(&self, gsi: Gsi, resample: Resample) -> Result<SourceId, ConnectError>;

    /// [`crate::Router::disconnect`].
    fn disconnect(&self, source: SourceId, gsi: Gsi);

    /// [`crate::Router::is_connected`].
    fn is_connected(&self, source: SourceId, gsi: Gsi) -> bool;

    /// [`crate::Router::set_irq`].
    fn set_irq(&self, source: SourceId, gsi: Gsi, level: bool) -> Delivery;

    /// [`crate::Router::pulse`].
    fn pulse(&self, source: SourceId, gsi: Gsi) -> Delivery;

    /// What signals this source from elsewhere.
    fn notifier(&self, _source: SourceId, _gsi: Gsi) -> Option<Self::Notifier> {
        None
    }
}

/// A change of the message that a GSI is routed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteChange {
    /// The GSI.
    pub gsi: Gsi,
    /// Its message; `None` while the source is masked or off. What is signalled meanwhile has
    /// to wait, as an eventfd does by itself when its irqfd is taken off.
    pub msi: Option<Msi>,
}

/// What a machine offers to the MSIs of its devices.
///
/// Only [`MsiBackend::send`] is needed. The rest is for machines whose hypervisor takes
/// interrupts from notifiers, so that a message has a GSI and a route.
pub trait MsiBackend: Send + Sync {
    /// What signals a GSI from elsewhere.
    type Notifier;

    /// Delivers a message now. On the path of every interrupt: take no lock here.
    fn send(&self, msi: Msi) -> Delivery;

    /// Takes a GSI.
    ///
    /// # Errors
    /// [`GroupError::NoGsi`], or [`GroupError::NoNotifiers`] where there is no such thing.
    fn take_gsi(&self) -> Result<Gsi, GroupError> {
        Err(GroupError::NoNotifiers)
    }

    /// Gives a GSI back. Its route was withdrawn before.
    fn put_gsi(&self, _gsi: Gsi) {}

    /// Changes the routes of GSIs of one group: all of them or, with an error, none.
    ///
    /// # Errors
    /// What the hypervisor refuses.
    fn set_routes(&self, _changes: &[RouteChange]) -> Result<(), GroupError> {
        Ok(())
    }

    /// What signals this GSI. Called again for the same GSI it gives the same notifier.
    fn notifier(&self, _gsi: Gsi) -> Option<Self::Notifier> {
        None
    }

    /// Whether this GSI's notifier was signalled while its route was withdrawn.
    fn is_pending(&self, _gsi: Gsi) -> bool {
        false
    }
}

/// A backend made of a function that sends messages.
///
/// ```
/// use irq_routing::{Delivery, InterruptSourceGroup, Msi, MsixGroup, SendMsi};
///
/// let group = MsixGroup::new(SendMsi(|_msi: Msi| Delivery::Delivered(1)), 2)?;
/// assert_eq!(group.trigger(0)?, Delivery::Ignored, "MSI-X is off after reset");
/// # Ok::<(), irq_routing::GroupError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SendMsi<F>(pub F);

impl<F: Fn(Msi) -> Delivery + Send + Sync> MsiBackend for SendMsi<F> {
    type Notifier = Infallible;

    fn send(&self, msi: Msi) -> Delivery {
        (self.0)(msi)
    }
}

impl<B: MsiBackend + ?Sized> MsiBackend for Arc<B> {
    type Notifier = B::Notifier;

    fn send(&self, msi: Msi) -> Delivery {
        (**self).send(msi)
    }

    fn take_gsi(&self) -> Result<Gsi, GroupError> {
        (**self).take_gsi()
    }

    fn put_gsi(&self, gsi: Gsi) {
        (**self).put_gsi(gsi);
    }

    fn set_routes(&self, changes: &[RouteChange]) -> Result<(), GroupError> {
        (**self).set_routes(changes)
    }

    fn notifier(&self, gsi: Gsi) -> Option<Self::Notifier> {
        (**self).notifier(gsi)
    }

    fn is_pending(&self, gsi: Gsi) -> bool {
        (**self).is_pending(gsi)
    }
}

impl<B: LineBackend + ?Sized> LineBackend for Arc<B> {
    type Notifier = B::Notifier;

    fn connect(&self, gsi: Gsi, resample: Resample) -> Result<SourceId, ConnectError> {
        (**self).connect(gsi, resample)
    }

    fn disconnect(&self, source: SourceId, gsi: Gsi) {
        (**self).disconnect(source, gsi);
    }

    fn is_connected(&self, source: SourceId, gsi: Gsi) -> bool {
        (**self).is_connected(source, gsi)
    }

    fn set_irq(&self, source: SourceId, gsi: Gsi, level: bool) -> Delivery {
        (**self).set_irq(source, gsi, level)
    }

    fn pulse(&self, source: SourceId, gsi: Gsi) -> Delivery {
        (**self).pulse(source, gsi)
    }

    fn notifier(&self, source: SourceId, gsi: Gsi) -> Option<Self::Notifier> {
        (**self).notifier(source, gsi)
    }
}
