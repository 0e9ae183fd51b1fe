// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Inputs as bytes, both ways.
//!
//! [`arbitrary`] turns a fuzzer's bytes into values. Its derive spends four bytes on each enum and
//! has no way back; the macros here spend one, and can write down an input that a person made:
//! that is how the seed corpora are readable source.

use std::fmt::{Debug, Display, Formatter};

use arbitrary::{Arbitrary, Result, Unstructured};

/// A value that can be read from and written to an input.
pub trait Code: Sized {
    /// Reads a value; exhausted input reads as zeroes.
    fn decode(u: &mut Unstructured<'_>) -> Self;

    /// Writes what [`Code::decode`] reads as this value.
    fn encode(&self, out: &mut Vec<u8>);
}

/// How a run is set up, and what happens then.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scenario<S, O> {
    pub setup: S,
    pub ops: Vec<O>,
}

/// Operations that one input can have: enough for any state, and no slow inputs.
const MAX_OPS: usize = 600;

impl<S: Code, O: Code> Code for Scenario<S, O> {
    fn decode(u: &mut Unstructured<'_>) -> Self {
        let setup = S::decode(u);
        let mut ops = Vec::new();
        while !u.is_empty() && ops.len() < MAX_OPS {
            ops.push(O::decode(u));
        }
        Scenario { setup, ops }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.setup.encode(out);
        self.ops.iter().for_each(|op| op.encode(out));
    }
}

impl<S: Debug, O: Debug> Display for Scenario<S, O> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:?}", self.setup)?;
        self.ops.iter().try_for_each(|op| writeln!(f, "{op:?}"))
    }
}

impl<'a, S: Code, O: Code> Arbitrary<'a> for Scenario<S, O> {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self::decode(u))
    }
}

/// The input that `bytes` are.
pub fn decode<T: Code>(bytes: &[u8]) -> T {
    T::decode(&mut Unstructured::new(bytes))
}

/// The bytes of an input.
pub fn encode<T: Code>(input: &T) -> Vec<u8> {
    let mut out = Vec::new();
    input.encode(&mut out);
    out
}

macro_rules! integers {
    ($($ty:ty),*) => {$(
        impl Code for $ty {
            fn decode(u: &mut Unstructured<'_>) -> Self {
                // Integers take zeroes where the input ends: no error comes from here.
                u.arbitrary().unwrap_or_default()
            }

            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}

integers!(u8, u16, u32, u64);

impl Code for bool {
    fn decode(u: &mut Unstructured<'_>) -> Self {
        u8::decode(u) & 1 != 0
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push((*self).into());
    }
}

impl<T: Code> Code for Option<T> {
    fn decode(u: &mut Unstructured<'_>) -> Self {
        bool::decode(u).then(|| T::decode(u))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }
}

impl<T: Code, const N: usize> Code for [T; N] {
    fn decode(u: &mut Unstructured<'_>) -> Self {
        std::array::from_fn(|_| T::decode(u))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|item| item.encode(out));
    }
}

/// The bytes of an access: 0 to 16 of them, so mostly a width that no bus has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Data(pub Vec<u8>);

impl Code for Data {
    fn decode(u: &mut Unstructured<'_>) -> Self {
        let len = u8::decode(u) % 17;
        Data((0..len).map(|_| u8::decode(u)).collect())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.0.len() as u8);
        out.extend_from_slice(&self.0);
    }
}

/// A number of any size, small ones and single bits more often than chance would have them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Num(pub u64);

impl Code for Num {
    fn decode(u: &mut Unstructured<'_>) -> Self {
        Num(match u8::decode(u) % 5 {
            0 => u8::decode(u).into(),
            1 => u16::decode(u).into(),
            2 => u32::decode(u).into(),
            3 => 1 << (u8::decode(u) % 64),
            _ => u64::decode(u),
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let (tag, len) = match self.0 {
            0..=0xff => (0, 1),
            0x100..=0xffff => (1, 2),
            0x1_0000..=0xffff_ffff => (2, 4),
            _ => (4, 8),
        };
        out.push(tag);
        out.extend_from_slice(&self.0.to_le_bytes()[..len]);
    }
}

/// Element `n` of a table, counted round.
pub fn pick<T: Copy>(table: &[T], n: u8) -> T {
    table[usize::from(n) % table.len()]
}

/// Where `value` is in a table, for [`pick`].
pub fn at<T: PartialEq>(table: &[T], value: T) -> u8 {
    table.iter().position(|item| *item == value).expect("in the table") as u8
}

/// Declares an enum of operations, one byte and the fields each.
macro_rules! ops {
    ($(#[$meta:meta])* pub enum $name:ident {
        $($(#[$doc:meta])* $variant:ident $({ $($field:ident: $ty:ty),* $(,)? })?,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $name { $($(#[$doc])* $variant $({ $($field: $ty),* })?,)* }

        impl $crate::code::Code for $name {
            fn decode(u: &mut arbitrary::Unstructured<'_>) -> Self {
                const COUNT: u8 = [$(stringify!($variant)),*].len() as u8;
                let mut tag = <u8 as $crate::code::Code>::decode(u) % COUNT;
                $(
                    if tag == 0 {
                        return Self::$variant $({
                            $($field: $crate::code::Code::decode(u)),*
                        })?;
                    }
                    tag -= 1;
                )*
                unreachable!("tag {tag} beyond {COUNT}")
            }

            #[allow(unused_assignments)]
            fn encode(&self, out: &mut Vec<u8>) {
                let mut this = 0;
                $(
                    if let Self::$variant $({ $($field),* })? = self {
                        out.push(this);
                        $($($crate::code::Code::encode($field, out);)*)?
                    }
                    this += 1;
                )*
            }
        }
    };
}

/// Declares a struct that is read and written field by field.
macro_rules! fields {
    ($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$doc:meta])* $field:ident: $ty:ty),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name { $($(#[$doc])* pub $field: $ty),* }

        impl $crate::code::Code for $name {
            fn decode(_u: &mut arbitrary::Unstructured<'_>) -> Self {
                $name { $($field: $crate::code::Code::decode(_u)),* }
            }

            fn encode(&self, _out: &mut Vec<u8>) {
                $($crate::code::Code::encode(&self.$field, _out);)*
            }
        }
    };
}
