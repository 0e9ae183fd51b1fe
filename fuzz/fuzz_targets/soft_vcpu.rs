// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#![cfg_attr(fuzzing, no_main)]
interrupt_fuzz::fuzz_main!(soft_vcpu);
