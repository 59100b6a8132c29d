namespace Hyperscope.GuestLinux;

/// <summary>What is made of a vCPU that reached a function; null: nothing worth telling.</summary>
internal delegate ValueTask<GuestEvent?> EventDecoder(EventScene scene, CancellationToken cancellation);

/// <summary>A kernel function that is executed once for each event.</summary>
/// <param name="Function">Its symbol.</param>
/// <param name="Decode">Reads its arguments.</param>
internal sealed record EventPlace(string Function, EventDecoder Decode);

/// <summary>A kind of event and where it is seen.</summary>
/// <param name="Kind">The kind.</param>
/// <param name="Places">The first one that a kernel has is used.</param>
internal sealed record EventRow(GuestEventKinds Kind, params IReadOnlyList<EventPlace> Places);

/// <summary>Where each kind of event is seen. A new one is a row here and a record in GuestEvent.cs.</summary>
/// <remarks>System calls are the exception: each chosen one has a function of its own, see <see cref="SyscallCatalog"/>. All of these
/// functions are called, not inlined, in Linux 5.15 to 6.12.</remarks>
internal static class EventTable
{
    public static readonly IReadOnlyList<EventRow> Rows =
    [
        new(GuestEventKinds.Created, new EventPlace("wake_up_new_task", CreatedAsync)),
        new(GuestEventKinds.Executed, new EventPlace("finalize_exec", ExecutedAsync), new EventPlace("begin_new_exec", ExecutingAsync)),
        new(GuestEventKinds.Exited, new EventPlace("do_exit", ExitedAsync)),
        new(GuestEventKinds.ModuleLoaded, new EventPlace("do_init_module", ModuleLoadedAsync)),
        new(GuestEventKinds.ModuleUnloaded, new EventPlace("free_module", ModuleUnloadedAsync)),
        new(GuestEventKinds.FileOpened, new EventPlace("vfs_open", OpenedAsync)),
    ];

    // void wake_up_new_task(struct task_struct *p)
    private static async ValueTask<GuestEvent?> CreatedAsync(EventScene scene, CancellationToken cancellation) =>
        new TaskCreated(scene.Origin, await scene.TaskAsync(new Gva(scene.First), cancellation).ConfigureAwait(false));

    // void finalize_exec(struct linux_binprm *bprm): the new memory is in place, its stack filled.
    private static async ValueTask<GuestEvent?> ExecutedAsync(EventScene scene, CancellationToken cancellation)
    {
        (string path, string interpreter) = await ProgramAsync(scene, cancellation).ConfigureAwait(false);
        Gva mm = await scene.PointerAsync("task_struct", "mm", scene.Origin.By.Task, cancellation).ConfigureAwait(false);
        StructView view = await scene.Memory.ReadSliceAsync(
            scene.Guest.Btf.StructOf("mm_struct").Slice("arg_start", "arg_end"), mm, cancellation).ConfigureAwait(false);
        ulong start = view.Unsigned("arg_start"), end = view.Unsigned("arg_end");
        byte[] bytes = new byte[end > start ? (int)Math.Min(end - start, ProgramExecuted.MaxArgumentBytes) : 0];
        int length = await scene.TryReadUserAsync(start, bytes, cancellation).ConfigureAwait(false);
        return new ProgramExecuted(scene.Origin, path, interpreter, Strings(bytes.AsSpan(0, length)));
    }

    // int begin_new_exec(struct linux_binprm *bprm): the old memory is still there, and the old name.
    private static async ValueTask<GuestEvent?> ExecutingAsync(EventScene scene, CancellationToken cancellation)
    {
        (string path, string interpreter) = await ProgramAsync(scene, cancellation).ConfigureAwait(false);
        return new ProgramExecuted(scene.Origin, path, interpreter, []);
    }

    // void do_exit(long code)
    private static ValueTask<GuestEvent?> ExitedAsync(EventScene scene, CancellationToken cancellation) =>
        new(new TaskExited(scene.Origin, (int)(scene.First >> 8 & 0xff), (int)(scene.First & 0x7f)));

    // int do_init_module(struct module *mod)
    private static async ValueTask<GuestEvent?> ModuleLoadedAsync(EventScene scene, CancellationToken cancellation) =>
        new ModuleLoaded(scene.Origin, await ModuleNameAsync(scene, cancellation).ConfigureAwait(false), new Gva(scene.First));

    // void free_module(struct module *mod)
    private static async ValueTask<GuestEvent?> ModuleUnloadedAsync(EventScene scene, CancellationToken cancellation) =>
        new ModuleUnloaded(scene.Origin, await ModuleNameAsync(scene, cancellation).ConfigureAwait(false), new Gva(scene.First));

    // int vfs_open(const struct path *path, struct file *file)
    private static async ValueTask<GuestEvent?> OpenedAsync(EventScene scene, CancellationToken cancellation)
    {
        StructView view = await scene.ReadStructAsync(scene.Guest.Btf.StructOf("path"), new Gva(scene.First), cancellation).ConfigureAwait(false);
        string path = await new PathReader(scene.Guest, scene.Memory).OfAsync(view.Pointer("mnt"), view.Pointer("dentry"), cancellation)
            .ConfigureAwait(false);
        if (!scene.Options.OpenPrefixes.Any(prefix => path.StartsWith(prefix, StringComparison.Ordinal)))
            return null;
        BtfStruct file = scene.Guest.Btf.StructOf("file");
        uint flags = await scene.Memory.ReadUInt32Async(new Gva(scene.Second) + (ulong)file.Offset("f_flags"), cancellation).ConfigureAwait(false);
        return new FileOpened(scene.Origin, path, flags);
    }

    private static async ValueTask<(string Path, string Interpreter)> ProgramAsync(EventScene scene, CancellationToken cancellation)
    {
        StructView program = await scene.Memory.ReadSliceAsync(
            scene.Guest.Btf.StructOf("linux_binprm").Slice("filename", "interp"), new Gva(scene.First), cancellation).ConfigureAwait(false);
        Gva path = program.Pointer("filename"), interpreter = program.Pointer("interp");
        string name = await scene.Memory.ReadCStringAsync(path, 4096, cancellation).ConfigureAwait(false);
        return (name, interpreter == path ? name : await scene.Memory.ReadCStringAsync(interpreter, 4096, cancellation).ConfigureAwait(false));
    }

    private static async ValueTask<string> ModuleNameAsync(EventScene scene, CancellationToken cancellation)
    {
        BtfMember name = scene.Guest.Btf.StructOf("module").Member("name");
        byte[] bytes = new byte[Math.Clamp(name.Size, 1, 256)];
        await scene.Memory.ReadAsync(new Gva(scene.First) + (ulong)name.Offset, bytes, cancellation).ConfigureAwait(false);
        return GuestText.OfArray(bytes);
    }

    /// <summary>Strings that end in NUL each; the last one may have been cut off.</summary>
    internal static List<string> Strings(ReadOnlySpan<byte> bytes)
    {
        var strings = new List<string>();
        while (!bytes.IsEmpty)
        {
            int end = bytes.IndexOf((byte)0);
            strings.Add(GuestText.Of(end < 0 ? bytes : bytes[..end]));
            bytes = end < 0 ? [] : bytes[(end + 1)..];
        }

        return strings;
    }
}
