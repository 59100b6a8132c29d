using System.Text;

namespace Hyperscope.Client;

// Extensions of v9, see IntrospectedVm.Watches.cs.
public sealed partial class IntrospectedVm
{
    /// <summary>Makes a view of guest memory in which nothing is restricted; <see cref="IntrospectedVcpu.SwitchViewAsync"/> has a vCPU use
    /// it.</summary>
    /// <returns>Its number, never 0: that is the view that vCPUs start in.</returns>
    public async ValueTask<ushort> CreateViewAsync(CancellationToken cancellation = default) =>
        (await Ask<VmCreateView, ViewNumber>(default, cancellation).ConfigureAwait(false)).View;

    /// <summary>Destroys a view that no vCPU is in.</summary>
    public ValueTask DestroyViewAsync(ushort view, CancellationToken cancellation = default) => Tell(new VmDestroyView(view), cancellation);

    /// <summary>Sets the rights of a page in one view.</summary>
    public ValueTask SetPageAccessAsync(ushort view, Gpa gpa, PageAccess access, CancellationToken cancellation = default) =>
        SetPageAccessAsync(view, new[] { new PageAccessEntry(gpa, access) }.AsMemory(), cancellation);

    /// <summary>Sets the rights of many pages in one view. Not remembered in <see cref="PageAccesses"/>.</summary>
    /// <exception cref="KvmiException">The first error of the first message that has one. All other entries are applied.</exception>
    public async ValueTask SetPageAccessAsync(
        ushort view, ReadOnlyMemory<PageAccessEntry> entries, CancellationToken cancellation = default)
    {
        while (!entries.IsEmpty)
        {
            ReadOnlyMemory<PageAccessEntry> batch = entries[..Math.Min(entries.Length, KvmiConstants.MaxPageAccessEntries)];
            await _connection.RunAsync(new VmSetViewPageAccess(view, (ushort)batch.Length), batch, cancellation).ConfigureAwait(false);
            entries = entries[batch.Length..];
        }
    }

    /// <summary>Shows in a view the memory of <paramref name="backing"/> at <paramref name="gfn"/>; with the same frame, its own
    /// again.</summary>
    public ValueTask ChangeGfnAsync(ushort view, Gfn gfn, Gfn backing, CancellationToken cancellation = default) =>
        Tell(new VcpuChangeGfn(default, view, gfn, backing), cancellation);

    /// <summary>Asks for a frame without memory that <see cref="AllocateGfnAsync"/> can give some.</summary>
    public async ValueTask<Gfn> GetNextGfnAsync(CancellationToken cancellation = default) =>
        (await Ask<VmGetNextGfn, VmGetMaxGfnReply>(default, cancellation).ConfigureAwait(false)).Gfn;

    /// <summary>Gives a frame a page of zeroed memory that the guest was not told of, until this connection ends.</summary>
    public ValueTask AllocateGfnAsync(Gfn gfn, CancellationToken cancellation = default) => Tell(new VmAllocateGfn(gfn), cancellation);

    /// <summary>Takes away what <see cref="AllocateGfnAsync"/> gave.</summary>
    public ValueTask FreeGfnAsync(Gfn gfn, CancellationToken cancellation = default) => Tell(new VmFreeGfn(gfn), cancellation);

    /// <summary>Asks for the block of memory that a frame lies in.</summary>
    public ValueTask<VmQueryPhysicalReply> QueryPhysicalAsync(Gfn gfn, CancellationToken cancellation = default) =>
        Ask<VmQueryPhysical, VmQueryPhysicalReply>(new VmQueryPhysical(gfn), cancellation);

    /// <summary>Asks for the path of the file that guest memory is in; an offset in it is a guest-physical address.</summary>
    public async ValueTask<string> GetMemoryFileAsync(CancellationToken cancellation = default) =>
        Encoding.UTF8.GetString(await SendAsync(default(VmGetMemoryFile), cancellation).ConfigureAwait(false));
}
