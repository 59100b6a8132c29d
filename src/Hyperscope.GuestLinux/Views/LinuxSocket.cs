namespace Hyperscope.GuestLinux;

/// <summary>An open socket.</summary>
/// <param name="Sock">Its <c>struct sock</c>.</param>
/// <param name="Protocol">Such as <c>tcp</c>, <c>udp6</c>, <c>unix</c>, <c>netlink</c>.</param>
/// <param name="Type">As given to socket: <c>stream</c>, <c>dgram</c>, <c>raw</c>, <c>seqpacket</c>.</param>
/// <param name="State">Such as <c>LISTEN</c> or <c>ESTABLISHED</c>; empty where there is none.</param>
/// <param name="Local">Own address: <c>127.0.0.1:80</c>, <c>[::1]:80</c>, a path, <c>@name</c>.</param>
/// <param name="Remote">The other end's address; empty if there is none.</param>
/// <param name="Inode">The number that <c>/proc/net</c> shows.</param>
/// <param name="Pid">A process that has it open.</param>
/// <param name="Descriptor">Its descriptor there.</param>
public sealed record LinuxSocket(
    Gva Sock, string Protocol, string Type, string State, string Local, string Remote, ulong Inode, int Pid, int Descriptor);
