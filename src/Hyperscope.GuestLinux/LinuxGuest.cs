using System.Diagnostics;

namespace Hyperscope.GuestLinux;

/// <summary>A running Linux guest, read from outside: no agent in it, no profile of its kernel.</summary>
/// <remarks>Everything comes from guest memory, so a guest that lies or breaks is believed no further than it can be checked: methods
/// return, or throw <see cref="LinuxGuestException"/> or what a command of the connection throws. Safe from any thread.</remarks>
public sealed partial class LinuxGuest
{
    private readonly IPhysicalMemory _memory;
    private readonly LinuxGuestOptions _options;
    private readonly Btf? _btf;
    private readonly string _noBtf;
    private IntrospectedVm? _vm;

    internal LinuxGuest(IPhysicalMemory memory, LinuxGuestOptions options, KernelSymbols symbols, KernelLayout layout, Btf? btf, string noBtf)
    {
        _memory = memory;
        _options = options;
        _btf = btf;
        _noBtf = noBtf;
        Symbols = symbols;
        Layout = layout;
        Accesses = new GuestAccesses(this);
    }

    /// <summary>What the kernel says of itself at boot: <c>Linux version 6.1.0-...</c>.</summary>
    public string Banner { get; private set; } = "";

    /// <summary>The release, such as <c>6.1.0-39-cloud-amd64</c>; empty if the banner is not as expected.</summary>
    public string Release => Banner.Split(' ') is ["Linux", "version", { } release, ..] ? release : "";

    /// <summary>The build id of the kernel's image in hex; empty if it has none.</summary>
    public string BuildId { get; private set; } = "";

    /// <summary>The kernel's symbols.</summary>
    public KernelSymbols Symbols { get; }

    /// <summary>Where the kernel has its parts.</summary>
    public KernelLayout Layout { get; }

    /// <summary>Whether the kernel describes its types. Without, symbols, syscall table and IDT work, and nothing else does.</summary>
    public bool HasBtf => _btf is not null;

    /// <summary>The kernel's types.</summary>
    /// <exception cref="LinuxGuestException">It does not describe them; the text says what still works.</exception>
    public Btf Btf => _btf ?? throw new LinuxGuestException(
        $"{_noBtf}, so nothing is known of its structures; symbols, system call table and IDT still work");

    /// <summary>The VM that it runs in.</summary>
    /// <exception cref="InvalidOperationException">It is read from memory that belongs to no VM.</exception>
    public IntrospectedVm Vm => _vm ?? throw new InvalidOperationException("this guest was not found in a running VM");

    /// <summary>The ACCESS events of its connection, for all who want some of them.</summary>
    public GuestAccesses Accesses { get; }

    /// <summary>How long attaching took.</summary>
    public TimeSpan AttachTime { get; private set; }

    /// <summary>Whether symbols and types came from a profile.</summary>
    public bool IsFromProfile { get; private set; }

    /// <summary>Finds the kernel of a VM.</summary>
    /// <param name="vm">The VM. Its vCPUs may run; they are asked for their registers, which takes a running or paused VM.</param>
    /// <param name="options">How.</param>
    /// <param name="cancellation">Ends the search.</param>
    /// <exception cref="LinuxGuestException">There is no Linux, or not yet; the text says how far it got.</exception>
    public static async Task<LinuxGuest> AttachAsync(
        IntrospectedVm vm, LinuxGuestOptions? options = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(vm);
        long started = Stopwatch.GetTimestamp();
        List<VcpuStart> vcpus = await VcpuStart.ReadAsync(vm, cancellation).ConfigureAwait(false);
        LinuxGuest guest = await AttachAsync(new VmPhysicalMemory(vm), vcpus, options, cancellation).ConfigureAwait(false);
        guest.AttachTime = Stopwatch.GetElapsedTime(started);
        guest._vm = vm;
        return guest;
    }

    /// <summary>Opens the names of the kernel and of its modules. Modules are looked at when the first address of one is asked for.</summary>
    public SymbolMap OpenSymbols() => new(this);

    /// <summary>Opens kernel memory as it is from now on: pages are fetched when they are first needed, and kept.</summary>
    public GuestReader OpenMemory()
    {
        var cache = new PageCache(_memory);
        return new GuestReader(cache, new AddressSpace(cache, Layout.PageTable, Layout.IsFiveLevel));
    }

    /// <summary>The same, but believes that the image and the direct map are where they belong: no page tables are read for those.</summary>
    internal GuestReader OpenDirect()
    {
        var cache = new PageCache(_memory);
        return new GuestReader(cache, new AddressSpace(cache, Layout.PageTable, Layout.IsFiveLevel, Layout.PhysicalOf));
    }

    internal static async Task<LinuxGuest> AttachAsync(
        IPhysicalMemory memory, IReadOnlyList<VcpuStart> vcpus, LinuxGuestOptions? options, CancellationToken cancellation)
    {
        options ??= new LinuxGuestOptions();
        var finder = new KernelFinder(memory);
        ProfileFolder? profiles = options.ProfileDirectory is { } folder ? new ProfileFolder(folder) : null;
        (AddressSpace space, List<MappedRange> ranges) = await finder.FindImageAsync(vcpus, cancellation).ConfigureAwait(false);
        var reader = new GuestReader(new PageCache(memory), space);
        if (profiles is not null && await profiles.FindAsync(reader, vcpus, cancellation).ConfigureAwait(false) is { } profile)
        {
            var known = new FoundKernel(space, ranges, new KernelSymbols(profile.Tables), default, []);
            KernelLayout place = await LayoutReader.ReadAsync(known, reader, cancellation).ConfigureAwait(false);
            var same = new LinuxGuest(memory, options, known.Symbols, place, profile.Btf, BtfFinder.NoTypes) { IsFromProfile = true };
            await same.ReadIdentityAsync(cancellation).ConfigureAwait(false);
            return same;
        }

        FoundKernel found = await finder.FindSymbolsAsync(space, ranges, cancellation).ConfigureAwait(false);
        KernelLayout layout = await LayoutReader.ReadAsync(found, reader, cancellation).ConfigureAwait(false);
        (Btf? btf, string noBtf) = await BtfFinder.FindAsync(found, reader, cancellation).ConfigureAwait(false);
        var guest = new LinuxGuest(memory, options, found.Symbols, layout, btf, noBtf);
        await guest.ReadIdentityAsync(cancellation).ConfigureAwait(false);
        profiles?.Save(guest, btf, vcpus);
        return guest;
    }

    private async Task ReadIdentityAsync(CancellationToken cancellation)
    {
        GuestReader reader = OpenMemory();
        if (Symbols.TryAddressOf("linux_banner", out Gva banner))
        {
            try
            {
                Banner = (await reader.ReadCStringAsync(banner, 512, cancellation).ConfigureAwait(false)).Replace("\\x0a", "", StringComparison.Ordinal);
            }
            catch (GuestAddressException)
            {
                Banner = "";
            }
        }

        if (Symbols.TryAddressOf("__start_notes", out Gva start) && Symbols.TryAddressOf("__stop_notes", out Gva end))
            BuildId = await BuildNotes.ReadIdAsync(reader, new KernelRange(start, end), cancellation).ConfigureAwait(false);
    }
}
