// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The command line, in the form of Cloud Hypervisor.
