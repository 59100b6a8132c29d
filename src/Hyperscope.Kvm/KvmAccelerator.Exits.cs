using System.Runtime.InteropServices;
using Hyperscope.Vm;
using Hyperscope.X64;

namespace Hyperscope.Kvm;

/// <summary>What KVM_RUN came back for.</summary>
internal sealed partial class KvmAccelerator
{
    // A device access was answered but the kernel has not finished the instruction.
    private bool _hasOpenAccess;
    private bool _isStepDone;

    // The same failure at the same place, with nothing executed between.
    private ulong _failedRip;
    private int _failures;

    private AcceleratorExit? HandleExit(ref KvmRun page)
    {
        switch (page.ExitReason)
        {
            case KvmExitReason.Io:
                AccessPort(ref page);
                return null;
            case KvmExitReason.Mmio:
                return AccessMemory(ref page);
            case KvmExitReason.Halt:
                return AcceleratorExit.Halt;
            case KvmExitReason.Debug:
                _isStepDone = true;
                return AcceleratorExit.Instruction;
            case KvmExitReason.InterruptWindow:
                return AcceleratorExit.Attention;
            case KvmExitReason.Interrupted or KvmExitReason.SetTaskPriority:
                return null;
            case KvmExitReason.Shutdown:
                _logger.ShutDown(_owner.Index, new Gva(page.Regs.Rip), new Gva(page.Sregs.Cr2), new Gva(page.Sregs.Idt.Base));
                return AcceleratorExit.Shutdown;
            case KvmExitReason.ReadMsr or KvmExitReason.WriteMsr:
                page.Msr.Error = 0;
                Cancel(ref page);
                return AcceleratorExit.Instruction;
            case KvmExitReason.Xen:
                Cancel(ref page);
                return AcceleratorExit.Instruction;
            case KvmExitReason.MemoryFault:
                return AcceleratorExit.Instruction;
            case KvmExitReason.InternalError when MayRetryInSoftware(ref page):
                return AcceleratorExit.Instruction;
            default:
                ulong detail = page.ExitReason == KvmExitReason.InternalError ? page.Internal.Suberror : page.HardwareReason;
                _logger.CannotGoOn(_owner.Index, (uint)page.ExitReason, detail);
                throw new InvalidOperationException(
                    $"KVM cannot run vCPU {_owner.Index} any further: exit {(uint)page.ExitReason}, detail 0x{detail:x}, rip 0x{page.Regs.Rip:x}");
        }
    }

    // The kernel's own emulator gave up in front of an instruction: the software's may know it.
    private bool MayRetryInSoftware(ref KvmRun page)
    {
        const uint EmulationFailure = 1, EventDelivery = 3;
        if (page.Internal.Suberror is not (EmulationFailure or EventDelivery))
            return false;
        _failures = page.Regs.Rip == _failedRip ? _failures + 1 : 0;
        _failedRip = page.Regs.Rip;
        return _failures < 1000;
    }

    /// <summary>Ends an access that the kernel reported without what it would do next, so that the software can execute the instruction.</summary>
    private void Cancel(ref KvmRun page)
    {
        KvmRegs before = page.Regs;
        page.RequestInterruptWindow = 0;
        do
            page.ImmediateExit = 1;
        while (_vcpu.Run() == 0 && page.ExitReason is KvmExitReason.Io or KvmExitReason.Mmio);
        page.Regs = before;
        _mustPushRegisters = true;
    }

    private void AccessPort(ref KvmRun page)
    {
        KvmExitIo io = page.Io;
        Span<byte> data = _vcpu.PortData(io);
        for (int offset = 0; offset + io.Size <= data.Length; offset += io.Size)
        {
            Span<byte> item = data.Slice(offset, io.Size);
            if (io.Direction == 0)
            {
                uint value = _owner.ReadDevicePort(io.Port, io.Size);
                for (int index = 0; index < item.Length; index++)
                    item[index] = (byte)(value >> (8 * index));
            }
            else
            {
                uint value = 0;
                for (int index = 0; index < item.Length; index++)
                    value |= (uint)item[index] << (8 * index);
                _owner.WriteDevicePort(io.Port, io.Size, value);
            }
        }

        _hasOpenAccess = true;
    }

    private AcceleratorExit? AccessMemory(ref KvmRun page)
    {
        KvmExitMmio mmio = page.Mmio;
        var gpa = new Gpa(mmio.Address);
        Span<byte> data = MemoryMarshal.AsBytes(new Span<ulong>(ref page.Mmio.Data))[..(int)Math.Min(mmio.Length, 8)];
        bool isMemory = _owner.Group.Memory.TryGetSlot(gpa.Frame, out MemorySlot? slot) && !slot.IsReadOnly;
        if (!isMemory)
        {
            if (mmio.IsWrite == 0 && slot is not null)
                _owner.Group.Memory.TryRead(gpa, data);
            else if (mmio.IsWrite == 0)
                _owner.ReadDeviceMemory(gpa, data);
            else if (slot is null)
                _owner.WriteDeviceMemory(gpa, data);
            _hasOpenAccess = true;
            return null;
        }

        // Memory that the kernel's emulator may not touch.
        if (mmio.IsWrite == 0)
        {
            // Nothing of the instruction is done yet: the software does all of it.
            _ = _owner.Group.Memory.TryRead(gpa, data);
            Cancel(ref page);
            return AcceleratorExit.Instruction;
        }

        // The rest of the instruction is done already, so that the write can be allowed or reported, not taken back.
        if (_owner.Group.Views.Main.AccessMap.Denies(gpa, data.Length, PageAccess.Write))
        {
            PageTrackVerdict verdict = _owner.AskAbout(new PageTrackAccess(Gva.Unknown, gpa, PageAccess.Write, data.Length, data));
            if (verdict == PageTrackVerdict.Retry)
                _logger.WriteCannotBeRetried(_owner.Index, gpa);
        }

        _ = _owner.Group.Memory.TryWrite(gpa, data);
        _hasOpenAccess = true;
        return null;
    }
}
