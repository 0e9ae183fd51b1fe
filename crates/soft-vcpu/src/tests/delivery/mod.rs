// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Delivery of events: frames, stacks, error codes.

mod long;
