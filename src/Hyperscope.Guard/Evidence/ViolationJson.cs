using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Hyperscope.Guard;

/// <summary>Violations as JSON lines; the schema is docs/evidence.md.</summary>
public static class ViolationJson
{
    private static readonly EvidenceJson Context = new(new JsonSerializerOptions
    {
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, // for log files, never for a page; "+" stays "+"
        Converters = { new JsonStringEnumConverter<Verdict>(JsonNamingPolicy.CamelCase) },
    });

    /// <summary>One line, without its end.</summary>
    public static string ToLine(Violation violation) => JsonSerializer.Serialize(violation, Context.Violation);

    /// <summary>Reads a line back.</summary>
    public static Violation? FromLine(string line) => JsonSerializer.Deserialize(line, Context.Violation);
}

[JsonSerializable(typeof(Violation))]
internal sealed partial class EvidenceJson : JsonSerializerContext;
