//! Whether an address is one of this machine's own.

use std::{
    net::{IpAddr, Ipv4Addr, UdpSocket},
    sync::LazyLock,
};

/// Whether `ip` belongs to this machine: then a request would come back to services that trust it.
///
/// Only an address of our own can be bound, so the question is asked of the kernel. Where the kernel lets any
/// address be bound (`net.ipv4.ip_nonlocal_bind`) it cannot be answered, and nothing is refused for it.
pub(super) fn is_own(ip: IpAddr) -> bool {
    static ANSWERS: LazyLock<bool> = LazyLock::new(|| !can_bind(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))));
    *ANSWERS && can_bind(ip)
}

fn can_bind(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}
