namespace Hyperscope.GuestLinux;

/// <summary>A vCPU that stands at the start of a kernel function, and its guest's memory at that moment.</summary>
internal sealed class EventScene
{
    private const ulong UserEnd = 1UL << 47;

    private readonly KvmRegs _registers;
    private readonly ulong _gsBase;
    private readonly DateTimeOffset _time;
    private readonly TaskMembers _members;

    public EventScene(LinuxGuest guest, TaskMembers members, GuestEventOptions options, in BreakpointHit hit, DateTimeOffset time)
    {
        Guest = guest;
        Options = options;
        Vcpu = hit.Vcpu;
        Memory = guest.OpenDirect();
        _members = members;
        _registers = hit.State.Regs;
        _gsBase = hit.State.Sregs.Gs.Base;
        _time = time;
        Origin = new EventOrigin(time, hit.Vcpu.Index, new EventTask(0, 0, "", default));
    }

    public LinuxGuest Guest { get; }

    public GuestEventOptions Options { get; }

    public IntrospectedVcpu Vcpu { get; }

    /// <summary>Kernel memory.</summary>
    public GuestReader Memory { get; }

    /// <summary>When, where and in whom; known after <see cref="IdentifyAsync"/>.</summary>
    public EventOrigin Origin { get; private set; }

    /// <summary>The first argument of the function.</summary>
    public ulong First => _registers.Rdi;

    /// <summary>The second one.</summary>
    public ulong Second => _registers.Rsi;

    /// <summary>Finds out which task runs.</summary>
    public async ValueTask IdentifyAsync(CancellationToken cancellation)
    {
        Gva task = await Memory.ReadPointerAsync(new Gva(_gsBase) + _members.CurrentTask, cancellation).ConfigureAwait(false);
        Origin = new EventOrigin(_time, Vcpu.Index, await TaskAsync(task, cancellation).ConfigureAwait(false));
    }

    /// <summary>Who a task is.</summary>
    public async ValueTask<EventTask> TaskAsync(Gva task, CancellationToken cancellation)
    {
        await Memory.PrefetchAsync([(task + (ulong)_members.Task.Offset, _members.Task.Length)], cancellation).ConfigureAwait(false);
        StructView view = await Memory.ReadSliceAsync(_members.Task, task, cancellation).ConfigureAwait(false);
        return new EventTask(view.Int32("pid"), view.Int32("tgid"), view.Text("comm"), task);
    }

    /// <summary>A member of a structure that is a pointer.</summary>
    public ValueTask<Gva> PointerAsync(string type, string member, Gva at, CancellationToken cancellation) =>
        Memory.ReadPointerAsync(at + (ulong)Guest.Btf.StructOf(type).Offset(member), cancellation);

    /// <summary>Reads memory of the process, as far as it is there.</summary>
    public async ValueTask<int> TryReadUserAsync(ulong address, Memory<byte> buffer, CancellationToken cancellation) =>
        address is 0 or >= UserEnd || (ulong)buffer.Length > UserEnd - address
            ? 0
            : await Vcpu.TryReadVirtualAsync(new Gva(address), buffer, cancellation).ConfigureAwait(false);

    /// <summary>Reads a whole structure as the vCPU sees it now, such as one on its stack.</summary>
    public async ValueTask<StructView> ReadStructAsync(BtfStruct type, Gva gva, CancellationToken cancellation)
    {
        byte[] bytes = new byte[LengthOf(type, gva)];
        int done = await Vcpu.TryReadVirtualAsync(gva, bytes, cancellation).ConfigureAwait(false);
        if (done != bytes.Length)
            GuestAddressException.Throw(gva + (ulong)done, bytes.Length - done);
        return new StructView(type, gva, 0, bytes);
    }

    /// <summary>Bytes of a structure at an address, both of which are for the guest to say.</summary>
    /// <exception cref="LinuxGuestException">It is longer than any, or runs past the end of the address space.</exception>
    internal static int LengthOf(BtfStruct type, Gva gva)
    {
        if (type.Size > BtfSlice.MaxLength)
            throw new LinuxGuestException($"BTF: {type.Size} bytes of struct {type.Name} are above {BtfSlice.MaxLength}");
        if (gva.Value > ulong.MaxValue - (ulong)type.Size)
            GuestAddressException.Throw(gva, type.Size);
        return type.Size;
    }
}

/// <summary>Where the members are that every event needs.</summary>
/// <param name="CurrentTask">Offset of the running task's address from the base of GS.</param>
/// <param name="Task">The part of <c>struct task_struct</c> that says who it is.</param>
internal sealed record TaskMembers(ulong CurrentTask, BtfSlice Task)
{
    public static TaskMembers Of(LinuxGuest guest) => new(guest.CurrentTaskOffset, guest.Btf.StructOf("task_struct").Slice("pid", "tgid", "comm"));
}
