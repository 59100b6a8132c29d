using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Hyperscope.X64.Execution;

/// <summary>A block start by instruction pointer, good while its generation is the vCPU's. 24 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct JumpCacheEntry
{
    public const int Entries = 1 << 14;

    public ulong Rip, Generation;
    public Op* Block;
}

/// <summary>From the end of one block to the start of the next.</summary>
internal static unsafe class Chain
{
    /// <summary>Goes to the target of a direct branch.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Op* Taken(CpuState* c, Op* o)
    {
        var exit = (BlockExit*)(o + 1);
        if (Charge(c, o))
            return Leave(c, exit->TakenRip);
        if (exit->TakenGeneration != c->Generation)
            return LinkTaken(c, exit);
        return exit->Taken;
    }

    /// <summary>Goes to the instruction behind the block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Op* Next(CpuState* c, Op* o)
    {
        var exit = (BlockExit*)(o + 1);
        if (Charge(c, o))
            return Leave(c, exit->NextRip);
        if (exit->NextGeneration != c->Generation)
            return LinkNext(c, exit);
        return exit->Next;
    }

    /// <summary>Goes to a computed address.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Op* Indirect(CpuState* c, Op* o, ulong rip)
    {
        if (Charge(c, o))
            return Leave(c, rip);
        JumpCacheEntry* entry = c->JumpCache + (int)((rip ^ (rip >> 14)) & (JumpCacheEntry.Entries - 1));
        if (entry->Rip != rip || entry->Generation != c->Generation)
            return Find(c, entry, rip);
        return entry->Block;
    }

    // Takes the instructions of a block off the budget; true if it is used up or attention was asked for.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool Charge(CpuState* c, Op* o)
    {
        long budget = c->Budget - (o->Bits >> 24);
        c->Budget = budget;
        return (budget | c->Attention) < 0;
    }

    /// <summary>Leaves for the run loop with rip where it should go on.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Op* Leave(CpuState* c, ulong rip)
    {
        c->Rip = rip;
        c->Stop = StopReason.None;
        return null;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Op* LinkTaken(CpuState* c, BlockExit* exit)
    {
        SoftwareVcpu owner = c->Owner;
        ulong rip = exit->TakenRip;
        Op* block = owner.FindBlock(rip, out bool isLinkable);
        if (isLinkable)
        {
            exit->Taken = block;
            exit->TakenGeneration = c->Generation;
        }

        return block;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Op* LinkNext(CpuState* c, BlockExit* exit)
    {
        SoftwareVcpu owner = c->Owner;
        ulong rip = exit->NextRip;
        Op* block = owner.FindBlock(rip, out bool isLinkable);
        if (isLinkable)
        {
            exit->Next = block;
            exit->NextGeneration = c->Generation;
        }

        return block;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Op* Find(CpuState* c, JumpCacheEntry* entry, ulong rip)
    {
        Op* block = c->Owner.FindBlock(rip, out bool isLinkable);
        if (isLinkable)
            *entry = new JumpCacheEntry { Rip = rip, Generation = c->Generation, Block = block };
        return block;
    }
}
