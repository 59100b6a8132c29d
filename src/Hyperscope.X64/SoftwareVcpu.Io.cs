using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>Permission to use I/O ports (SDM vol. 1, "I/O Permission Bit Map").</summary>
public sealed unsafe partial class SoftwareVcpu
{
    /// <summary>True if the instruction may touch a port. False: stopped, with #GP or at the permission map.</summary>
    internal bool CheckIo(Op* op, ushort port, int size)
    {
        if (!IsPermitted(op, port, size))
            return false;
        ulong hits = _hasDataBreakpoints ? PortBreakpointHits(port, size) : 0;
        if (hits == 0)
            return true;
        if (!_isAlone)
            return MustRunAlone(op); // the trap comes right behind the instruction
        _debugHits |= hits;
        return true;
    }

    private bool IsPermitted(Op* op, ushort port, int size)
    {
        if (!_c->IsProtected || (!_c->IsVirtual8086 && _c->Cpl <= ((int)(_c->SystemFlags >> 12) & 3)))
            return true;
        const uint MapOffset = 0x66;
        if (_c->Tr.Unusable || (_c->Tr.Type & 8) == 0 || _c->Tr.Limit < MapOffset + 1)
            return _c->RaiseGp(op);
        if (!TryRead(op, _c->Tr.Base + MapOffset, 2, out ulong map, Privilege.System))
            return false;

        // Two bytes are always read, so that a port of several bytes may straddle them.
        ulong position = map + (port / 8u);
        if (position + 1 > _c->Tr.Limit)
            return _c->RaiseGp(op);
        if (!TryRead(op, _c->Tr.Base + position, 2, out ulong bits, Privilege.System))
            return false;
        return ((bits >> (port & 7)) & ((1UL << size) - 1)) == 0 || _c->RaiseGp(op);
    }

    /// <summary>Reads a port outside guest mode: a device may block. Host pointers from before are invalid afterwards.</summary>
    internal uint ReadPort(Op* op, ushort port, int size)
    {
        _c->Rip = op->Rip;
        LeaveGuest();
        uint value = Bus.ReadPort(port, size);
        ReenterGuest();
        return value;
    }

    /// <summary>Writes a port outside guest mode.</summary>
    internal void WritePort(Op* op, ushort port, int size, uint value)
    {
        _c->Rip = op->Rip;
        LeaveGuest();
        Bus.WritePort(port, size, value);
        ReenterGuest();
    }
}
