using System.Runtime.InteropServices;
using Hyperscope.Vm;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>The time-stamp counter, and the paravirtual clock made from it.</summary>
/// <remarks>The TSC counts guest time of <see cref="Clock"/>; without one it counts instructions retired, one tick each. The controller
/// of <see cref="Interrupts"/> sees deadlines in those raw ticks, whatever the guest has added to its TSC.</remarks>
public sealed unsafe partial class SoftwareVcpu
{
    private readonly MemoryTypeRanges _mtrrs = new();
    private ulong _tscOffset, _tscAdjust;
    private ulong _systemTimeMsr, _wallClockMsr;

    /// <summary>What RDTSC gives. On the vCPU's thread.</summary>
    public ulong ReadTsc() => Accelerator is { } accelerator && accelerator.TryReadMsr(MsrIndex.Tsc, out ulong value) ? value : RawTsc + _tscOffset;

    internal ulong ReadTscAt(Op* o) => Accelerator is not null ? ReadTsc() : RawTsc + _tscOffset + (Clock is null ? o->Index : 0u);

    private ulong RawTsc => Clock is { } clock ? (ulong)((UInt128)(ulong)clock.Now * Model.TscFrequency / 1_000_000_000) : InstructionsRetired;

    private ulong GuestNanoseconds => Clock is { } clock ? (ulong)clock.Now : (ulong)((UInt128)InstructionsRetired * 1_000_000_000 / Model.TscFrequency);

    private void SetTsc(ulong value)
    {
        ulong delta = value - ReadTsc();
        _tscOffset += delta;
        _tscAdjust += delta;
        PublishSystemTime();
    }

    private void SetTscAdjust(ulong value)
    {
        _tscOffset += value - _tscAdjust;
        _tscAdjust = value;
        PublishSystemTime();
    }

    private bool TryReadDeadline(out ulong value)
    {
        value = 0;
        if (Interrupts is not { } controller || !controller.TryReadMsr(MsrIndex.TscDeadline, out value))
            return false;
        if (value != 0)
            value += _tscOffset;
        return true;
    }

    private bool TryWriteDeadline(ulong value)
    {
        if (Interrupts is not { } controller)
            return false;
        if (Accelerator is not null)
            _tscOffset = ReadTsc() - RawTsc;
        if (value != 0)
            value = value - _tscOffset is 0 or > long.MaxValue ? 1 : value - _tscOffset; // before time began: due at once
        return controller.TryWriteMsr(MsrIndex.TscDeadline, value);
    }

    private bool TryWriteSystemTime(ulong value)
    {
        if (!Model.HasKvmClock)
            return false;
        _systemTimeMsr = value;
        PublishSystemTime();
        return true;
    }

    private bool TryWriteWallClock(ulong value)
    {
        if (!Model.HasKvmClock)
            return false;
        _wallClockMsr = value;
        TimeSpan sinceEpoch = Model.StartTime - DateTimeOffset.UnixEpoch;
        var clock = new KvmClock.WallClockInfo
        {
            Version = 2,
            Seconds = (uint)sinceEpoch.TotalSeconds,
            Nanoseconds = (uint)(sinceEpoch.Ticks % TimeSpan.TicksPerSecond * 100),
        };
        _ = TryWriteOutside(value, MemoryMarshal.AsBytes(MemoryMarshal.CreateReadOnlySpan(ref clock, 1)));
        return true;
    }

    // Written once: ticks and nanoseconds never drift apart here.
    private void PublishSystemTime()
    {
        if ((_systemTimeMsr & 1) == 0)
            return;
        var info = new KvmClock.SystemTimeInfo { Version = 2, TscTimestamp = ReadTsc(), SystemTime = GuestNanoseconds, Flags = KvmClock.IsStable };
        (info.Multiplier, info.Shift) = KvmClock.Scale(Model.TscFrequency);
        _ = TryWriteOutside(_systemTimeMsr & ~1UL, MemoryMarshal.AsBytes(MemoryMarshal.CreateReadOnlySpan(ref info, 1)));
    }

    // An address without memory is the guest's mistake: nothing is written.
    private bool TryWriteOutside(ulong gpa, ReadOnlySpan<byte> bytes)
    {
        bool wasInside = IsInGuestMode;
        if (wasInside)
            LeaveGuest();
        bool written = gpa < 1UL << PhysicalBits && Group.Memory.TryWrite(new Gpa(gpa), bytes);
        if (wasInside)
            EnterGuest();
        return written;
    }
}

/// <summary>The KVM paravirtual clock: layouts and numbers (documented with KVM's paravirtual MSRs).</summary>
internal static class KvmClock
{
    public const uint OldWallClock = 0x11, OldSystemTime = 0x12, WallClock = 0x4B56_4D00, SystemTime = 0x4B56_4D01;

    public const byte IsStable = 1;

    [StructLayout(LayoutKind.Sequential)]
    public struct SystemTimeInfo
    {
        public uint Version;
        public uint Padding0;
        public ulong TscTimestamp;
        public ulong SystemTime;
        public uint Multiplier;
        public sbyte Shift;
        public byte Flags;
        public ushort Padding1;
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct WallClockInfo
    {
        public uint Version, Seconds, Nanoseconds;
    }

    /// <summary>nanoseconds = ((ticks &lt;&lt; shift) * multiplier) &gt;&gt; 32, with the largest multiplier that fits.</summary>
    public static (uint Multiplier, sbyte Shift) Scale(ulong frequency)
    {
        for (sbyte shift = -16; shift < 31; shift++)
        {
            UInt128 multiplier = shift < 0
                ? ((UInt128)1_000_000_000 << (32 - shift)) / frequency
                : ((UInt128)1_000_000_000 << 32) / ((UInt128)frequency << shift);
            if (multiplier <= uint.MaxValue)
                return ((uint)multiplier, shift);
        }

        return (uint.MaxValue, 31);
    }
}
