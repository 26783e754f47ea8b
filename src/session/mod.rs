//! One generation after the other on a prepared model: prefill, decode, stop rules, events. Layer 3.
